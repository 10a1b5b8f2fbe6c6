"""Reviews as a service of their own, on the same paths that the monolith served.

GET /reviews[?product=ID]
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
from reviews_data import reviews_of  # noqa: E402
from service import Problem, serve  # noqa: E402


def answer(method, path, query, _body):
    if method != "GET":
        raise Problem(405, f"{method} is not supported here")
    if path == "/reviews":
        return 200, {"servedBy": "reviews", "reviews": reviews_of(query.get("product"))}
    raise Problem(404, f"nothing at {path}")


serve("reviews", answer)
