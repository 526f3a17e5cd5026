"""The processes that train together: how they start, what they tell each other, and how work is dealt to them."""
