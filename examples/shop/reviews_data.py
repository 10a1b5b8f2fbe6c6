"""What customers wrote: data of the monolith, which the new service took over."""

REVIEWS = [
    {"product": "blanket", "stars": 5, "by": "Grace", "text": "Warm, and heavier than it looks."},
    {"product": "scarf", "stars": 4, "by": "Anni", "text": "Lovely hand; wash it cold."},
    {"product": "rug", "stars": 3, "by": "Joseph", "text": "Good colours, needs an underlay."},
    {"product": "towel", "stars": 5, "by": "Ada", "text": "The only ones I still buy."},
    {"product": "cushion", "stars": 4, "by": "Grace", "text": "Neat seams."},
    {"product": "shuttle", "stars": 5, "by": "Anni", "text": "Runs like silk on silk."},
]


def reviews_of(product):
    return [review for review in REVIEWS if product is None or review["product"] == product]
