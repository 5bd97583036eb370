"""The listening study: what is heard, by whom, in which order, and what they say."""
