"""Takes payments from a bank that is sometimes slow.

POST /payments {"user", "amount", "currency", "card"}: 201 with an id; 402 when the card is declined
(its last digit is 0); 400 when the order makes no sense.
"""

import os
import random
import sys
import time
import uuid

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from service import Problem, serve  # noqa: E402


def answer(method, path, _query, body):
    if path != "/payments":
        raise Problem(404, f"nothing at {path}")
    if method != "POST":
        raise Problem(405, f"{method} is not supported here")
    if not isinstance(body, dict) or not isinstance(body.get("amount"), int) or body["amount"] <= 0:
        raise Problem(400, "expected amount, a whole number of cents above 0")
    card = str(body.get("card", ""))
    if not card.isdigit():
        raise Problem(400, "expected card, digits only")
    time.sleep(random.uniform(0.005, 0.03))
    if card.endswith("0"):
        raise Problem(402, "the card was declined")
    return 201, {"id": str(uuid.uuid4()), "amount": body["amount"], "currency": body.get("currency", "EUR")}


serve("payments", answer)
