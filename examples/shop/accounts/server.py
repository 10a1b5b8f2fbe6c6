"""Customers and their orders, in memory.

GET /accounts/ID            POST /accounts/ID/orders {"product", "payment", "amount"}
"""

import os
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from service import Problem, serve  # noqa: E402

NAMES = {"ada": "Ada", "grace": "Grace", "joseph": "Joseph", "anni": "Anni"}
ORDERS_KEPT = 10_000

lock = threading.Lock()
orders = {user: 0 for user in NAMES}
log = []


def answer(method, path, _query, body):
    parts = path.strip("/").split("/")
    if len(parts) < 2 or parts[0] != "accounts":
        raise Problem(404, f"nothing at {path}")
    user = parts[1]
    if user not in NAMES:
        raise Problem(404, f"no account {user}")
    if method == "GET" and len(parts) == 2:
        with lock:
            return 200, {"id": user, "name": NAMES[user], "orders": orders[user]}
    if method == "POST" and parts[2:] == ["orders"]:
        if not isinstance(body, dict) or not {"product", "payment", "amount"} <= body.keys():
            raise Problem(400, "expected product, payment and amount")
        with lock:
            orders[user] += 1
            log.append(body)
            del log[:-ORDERS_KEPT]
            return 201, {"order": orders[user], "product": body["product"]}
    raise Problem(405, f"{method} is not supported here")


serve("accounts", answer)
