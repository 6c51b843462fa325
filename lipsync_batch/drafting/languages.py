"""Languages in file names and headers: `intro.de.wav`, `intro_pt-BR.wav`, `Intro (German).wav`, `de/intro.wav`.

A code is written as BCP 47 has it, whatever way it was found: `pt_br` is pt-BR, and `DEU` or `German` is de.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

# ISO 639-1, and codes of three letters that dubbing knows. With all of ISO 639-3, `raw` and `dub` would be languages.
_CODES = frozenset(
    """
    aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee
    el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is
    it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms
    mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk
    sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi
    yo za zh zu ceb cmn fil haw hmn yue
    """.split()  # noqa: SIM905 - a list of this length reads better so
)
_NAMES = """
    ar ara arabic العربية
    bg bul bulgarian български
    ca cat catalan català
    cs ces cze czech čeština
    da dan danish dansk
    de deu ger german deutsch
    el ell gre greek ελληνικά
    en eng english
    es spa spanish español espanol castellano
    et est estonian eesti
    fa fas persian farsi فارسی
    fi fin finnish suomi
    fr fra fre french français francais
    he heb hebrew עברית
    hi hin hindi हिन्दी
    hr hrv croatian hrvatski
    hu hun hungarian magyar
    id ind indonesian indonesia
    it ita italian italiano
    ja jpn japanese 日本語
    ko kor korean 한국어
    lt lit lithuanian lietuvių
    lv lav latvian latviešu
    ms msa malay melayu
    nl nld dut dutch nederlands
    no nor norwegian norsk
    pl pol polish polski
    pt por portuguese português portugues
    ro ron rum romanian română
    ru rus russian русский
    sk slk slovak slovenčina
    sl slv slovenian slovenščina
    sr srp serbian српски
    sv swe swedish svenska
    ta tam tamil தமிழ்
    te tel telugu తెలుగు
    th tha thai ไทย
    tr tur turkish türkçe
    uk ukr ukrainian українська
    ur urd urdu اردو
    vi vie vietnamese
    zh zho chi chinese mandarin 中文
"""
"""Each code of two letters, with those of three and with the language's names."""
_CODE = re.compile(r"([a-z]{2,3})(?:[-_]([a-z]{4}))?(?:[-_]([a-z]{2}|[0-9]{3}))?")
_SEPARATORS = " ._-\N{EN DASH}()[]"


def folded(text: str) -> str:
    """A name for comparing: systems differ in how they write an umlaut, people in capitals."""
    return unicodedata.normalize("NFC", text).casefold()


def _by_name() -> Mapping[str, str]:
    lines = [folded(line).split() for line in _NAMES.strip().splitlines()]
    return {name: code for code, *names in lines for name in names}


_BY_NAME = _by_name()


def language_of(text: str) -> str | None:
    """The code of what a text names; None where that is no language.

    >>> language_of("zh_hant_TW"), language_of("German"), language_of("raw")
    ('zh-Hant-TW', 'de', None)
    """
    text = folded(text)
    if (named := _BY_NAME.get(text)) is not None:
        return named
    code = _CODE.fullmatch(text)
    if code is None:
        return None
    language, script, region = code.groups("")
    language = _BY_NAME.get(language, language)
    if language not in _CODES:
        return None
    return "-".join(part for part in (language, script.title(), region.upper()) if part)


def language_after(name: str, stem: str) -> str | None:
    """The language that a name says after a video's: "" where they are the same, None where it is no name of it.

    >>> language_after("Intro (pt-br)", "intro")
    'pt-BR'
    """
    rest = rest_after(name, stem)
    return language_of(rest) if rest else rest


def rest_after(name: str, stem: str) -> str | None:
    """What a name says after another one, without what separates them; None where it does not begin like it."""
    name, stem = folded(name), folded(stem)
    if name == stem:
        return ""
    if not name.startswith(stem) or name[len(stem)] not in _SEPARATORS:
        return None
    return name[len(stem) :].strip(_SEPARATORS) or None


def without_language(stem: str) -> tuple[str, str] | None:
    """A name that ends in a language, taken apart; None for any other.

    >>> without_language("clip-01_EN")
    ('clip-01', 'en')
    """
    for place, character in enumerate(stem):
        if place and character in _SEPARATORS:
            language = language_of(stem[place:].strip(_SEPARATORS))
            if language is not None:
                return stem[:place].rstrip(_SEPARATORS), language
    return None
