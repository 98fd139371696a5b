"""Hides secrets in text that a person or a log will see."""

import re

_IN_URL = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)(?P<user>[^\s:/@]*):(?P<password>[^\s/]*)@", re.IGNORECASE)
_KEY = re.compile(r"\btwk_(?P<id>[A-Za-z0-9-]+)_[A-Za-z0-9_-]+")
_QUERY = re.compile(r"(?P<name>\b(?:password|secret|token|signature|api_?key)=)[^\s&\"']+", re.IGNORECASE)


def mask_secrets(text: str) -> str:
    """`text` with passwords of addresses, API keys' secrets and secret query values replaced by `***`."""
    text = _IN_URL.sub(r"\g<scheme>\g<user>:***@", text)
    text = _KEY.sub(r"twk_\g<id>_***", text)
    return _QUERY.sub(r"\g<name>***", text)
