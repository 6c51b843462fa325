"""Language codes in file names and headers: `intro.de.wav`, `intro_pt-BR.wav`, `de/intro.wav`, a column `ja`."""

from __future__ import annotations

import re

# ISO 639-1, and codes of three letters that dubbing knows. With all of ISO 639-3, `raw` and `dub` would be languages.
_LANGUAGES = frozenset(
    """
    aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee
    el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is
    it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms
    mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk
    sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi
    yo za zh zu ceb cmn fil haw hmn yue
    """.split()  # noqa: SIM905 - a list of this length reads better so
)
_CODE = re.compile(r"(?P<language>[A-Za-z]{2,3})(?:[-_][A-Za-z]{4})?(?:[-_](?:[A-Za-z]{2}|[0-9]{3}))?")
SEPARATORS = "._- "


def is_language(text: str) -> bool:
    """Whether a text is a code of BCP 47, in whatever case: `de`, `pt-BR`, `zh_Hant_TW`."""
    code = _CODE.fullmatch(text)
    return code is not None and code["language"].lower() in _LANGUAGES


def language_after(name: str, stem: str) -> str | None:
    """What a name says after a video's: "" where they are the same, the code, or None where it is no name of it.

    >>> language_after("intro.pt-BR", "intro")
    'pt-BR'
    """
    if name == stem:
        return ""
    if not name.startswith(stem) or name[len(stem)] not in SEPARATORS:
        return None
    rest = name[len(stem) + 1 :]
    return rest if is_language(rest) else None
