"""The old shop in one program. Most of it has moved out; reviews and the newsletter still live here.

GET /reviews[?product=ID]   GET /newsletter   (slow: it is the old machine)
"""

import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from reviews_data import reviews_of  # noqa: E402
from service import Problem, serve  # noqa: E402


def answer(method, path, query, _body):
    if method != "GET":
        raise Problem(405, f"{method} is not supported here")
    time.sleep(random.uniform(0.01, 0.025))
    if path == "/reviews":
        return 200, {"servedBy": "legacy", "reviews": reviews_of(query.get("product"))}
    if path == "/newsletter":
        return 200, {"subject": "New colours this autumn"}
    raise Problem(404, f"nothing at {path}")


serve("legacy", answer)
