"""L3: explanations: steps as data (bits and integers), then renderers of that data.

``conversion`` and ``operation`` build frozen records from what the rule itself saw; ``*_text``
draw them for a terminal. A renderer is any function on the records.
"""
