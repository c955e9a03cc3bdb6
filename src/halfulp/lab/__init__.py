"""The lab: one local page to look at numbers, conversions, updates, scales and runs.

The server holds the only arithmetic: views ask the core and render what it answers.
"""
