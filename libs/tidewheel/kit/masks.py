"""Hides secrets in text that a person or a log will see."""

import re

_IN_URL = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)(?P<user>[^\s:/@]*):(?P<password>[^\s\"'<>,]*)@", re.IGNORECASE
)
_KEY = re.compile(r"\btwk_(?P<id>[A-Za-z0-9-]+)_[A-Za-z0-9_-]+")
_QUERY = re.compile(r"(?P<name>(?:password|passwd|secret|token|signature|api_?key)=)[^\s&\"']+", re.IGNORECASE)
_SHORTEST = 12  #: characters; a shorter secret may be a word that logs are full of

_hidden: set[str] = set()  # of this process, so that no way of printing one has to be foreseen


def hide(secret: str) -> None:
    """Mask this text wherever it turns up from now on, unless it has fewer than 12 characters."""
    if len(secret) >= _SHORTEST:
        _hidden.add(secret)


def mask_secrets(text: str) -> str:
    """`text` with passwords of addresses, API keys' secrets, secret query values and all that is hidden as `***`."""
    for secret in sorted(_hidden, key=len, reverse=True):
        text = text.replace(secret, "***")
    text = _IN_URL.sub(r"\g<scheme>\g<user>:***@", text)
    text = _KEY.sub(r"twk_\g<id>_***", text)
    return _QUERY.sub(r"\g<name>***", text)
