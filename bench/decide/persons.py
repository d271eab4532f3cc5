"""Names of people and answers in a description: who is who, and what is no answer at all."""

from __future__ import annotations

import re
import unicodedata

_LOOKALIKES = str.maketrans(
    {
        **dict(zip("аеёікмнорстухһѕјԁԛԝвзгь", "aeeikmhopctyxhsjdqwb3rb", strict=True)),
        **dict(zip("αεηικνορτυχγωѵıłøđ", "aenikvoptuxywvilod", strict=True)),
        **dict(zip("0135", "oies", strict=True)),
    }
)
"""Letters of other alphabets, and digits, that look like Latin letters."""
_EMPTY = frozenset(
    [
        "todo",
        "tbd",
        "tba",
        "tbc",
        "fixme",
        "xxx",
        "none",
        "null",
        "nil",
        "nan",
        "na",
        "n/a",
        "unknown",
        "undefined",
        "unassigned",
        "placeholder",
        "nobody",
        "someone",
        "somebody",
        "anyone",
        "anybody",
        "test",
        "foo",
        "bar",
        "baz",
        "foobar",
        "asdf",
        "qwerty",
        "abc",
        "lorem",
        "ipsum",
        "dummy",
        "sample",
        "example",
        "name",
        "owner",
        "person",
        "contact",
        "purpose",
        "reason",
        "signer",
        "value",
        "text",
        "string",
        "empty",
        "blank",
        "pending",
        "later",
        "missing",
        "unnamed",
        "anonymous",
    ]
)
_EMPTY_PHRASES = frozenset(
    {
        "not applicable",
        "not available",
        "not assigned",
        "not known",
        "not yet",
        "not assessed",
        "not set",
        "no one",
        "no reason",
        "to be done",
        "to be defined",
        "to be determined",
        "to do",
        "fill in",
        "fill me in",
        "change me",
        "your name",
        "your name here",
        "see above",
        "a person",
        "same as above",
    }
)
_STARTS = ("todo", "tbd", "fixme", "lorem ipsum", "xxx", "to be determined", "to be defined")
_ROLES = frozenset({"dpo", "ciso", "admin", "root", "user", "security lead", "model owner"})


def folded(text: str) -> str:
    """A text by which two spellings of one thing agree: case, width, spaces, hidden characters."""
    text = unicodedata.normalize("NFKC", text)
    shown = "".join(c for c in text if unicodedata.category(c) not in ("Cf", "Cc") or c.isspace())
    return " ".join(shown.casefold().replace("_", " ").split())


def person(name: str) -> str:
    """A name by which two spellings of one person agree.

    Besides :func:`folded`, accents, letters that look alike, punctuation and the order of the words
    make no difference: ``A. Person``, ``Person, A`` and one with a Cyrillic ``а`` are one.
    """
    apart = unicodedata.normalize("NFKD", folded(name).translate(_LOOKALIKES))
    letters = "".join(c for c in apart if not unicodedata.combining(c)).translate(_LOOKALIKES)
    return " ".join(sorted(re.sub(r"[^\w]+", " ", letters).split()))


def placeholder(text: str) -> bool:
    """Whether a text stands where an answer belongs and is none: ``TODO``, ``n/a``, ``-``."""
    plain = folded(text).strip(" .,:;!?-_*#'\"<>[]{}()/\\|~=+")
    if not any(c.isalpha() for c in plain) and not re.search(r"\d{5}", plain):
        return True  # neither words nor a telephone number
    if len({c for c in plain if c.isalnum()}) == 1:
        return True  # x, xxx, aaaa
    framed = re.fullmatch(r"\s*(<.*>|\{\{.*\}\}|\$\{.*\}|\[.*\])\s*", folded(text))
    return (
        framed is not None
        or plain.startswith(_STARTS)
        or plain in _EMPTY_PHRASES
        or all(word in _EMPTY for word in re.split(r"[\s,;.-]+", plain) if word)
    )


def named(name: str) -> bool:
    """Whether a text names a person, as far as that can be told."""
    letters = [c for c in folded(name) if c.isalpha()]
    return len(letters) >= 2 and not placeholder(name) and folded(name).strip(" .") not in _ROLES
