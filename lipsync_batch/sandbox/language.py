"""Which language a text is written in, well enough to choose a voice for a rehearsal.

The script decides where it can; languages in Latin script are told apart by their commonest words and their own
letters. A short text in a language that is not listed is read as English: a guess for a stand-in, not a detector.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

SCRIPTS = {
    "CYRILLIC": "ru",
    "GREEK": "el",
    "HEBREW": "he",
    "ARABIC": "ar",
    "DEVANAGARI": "hi",
    "BENGALI": "bn",
    "GUJARATI": "gu",
    "TAMIL": "ta",
    "TELUGU": "te",
    "KANNADA": "kn",
    "MALAYALAM": "ml",
    "THAI": "th",
    "HANGUL": "ko",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "CJK": "cmn",
    "GEORGIAN": "ka",
    "ARMENIAN": "hy",
}
"""The first word of a letter's Unicode name, and the language that it stands for. Names are espeak-ng's."""

OWN_LETTERS = {
    "ru": (("uk", "іїєґ"),),
    "ar": (("ur", "ٹڈڑںےھ"), ("fa", "پچژگ")),
}
"""Languages that share a script with a larger one and have letters which that one lacks."""

LATIN = {
    "en": ("the and of to is in that it for you with are this we have be on your not welcome back hello", ""),
    "de": ("der die das und ist nicht ich sie wir ein eine zu mit auf den im willkommen zurück bis bald hallo", "äöüß"),
    "fr": (
        "le la les des et est une un je vous nous dans pour pas que bienvenue bonjour au du bientôt",
        "àâçéèêëîœùû",
    ),
    "es": ("el la los las y es una un que en por con no de bienvenidos hola hasta pronto se del", "ñ¿¡áéíóú"),
    "it": ("il la lo gli e è una un che di per con non sono benvenuti bentornati ciao a presto della del", "àèéìòù"),
    "pt": ("o a os as e é uma um que em por com não de do da você olá bem-vindo até breve", "ãõçáâêéíóú"),
    "nl": ("de het een en is niet ik je wij van op met voor dat welkom terug hallo zijn tot", ""),
    "pl": ("i w na nie się to jest z do że jak witaj witamy dzień dobry", "ąćęłńóśźż"),
    "tr": ("ve bir bu için ile ne değil çok hoş geldiniz merhaba da de", "ğışöüç"),
    "sv": ("och att det är en ett som på för inte jag vi du välkommen tillbaka hej med", "åäö"),
    "cs": ("a je se na v že to není jak vítejte dobrý den s do", "ěščřžýáíéůú"),
    "id": ("dan yang di itu ini tidak untuk dengan anda saya selamat datang kembali dari", ""),
    "vi": ("và của là không bạn tôi chào mừng trở lại một", "ăđơưạảấầẩậắằặẹẻếềểệịọỏốồổộớờởợụủứừửữựỳỵỷỹ"),
}
"""Common words, and letters that speak for the language."""

ENGLISH = "en"


def guess_language(text: str) -> str:
    """espeak-ng's name of the language that `text` seems to be in, such as `de`, `ja` or `cmn`."""
    scripts = Counter(_script(letter) for letter in text if letter.isalpha())
    if not scripts:
        return ENGLISH
    if scripts["HIRAGANA"] + scripts["KATAKANA"]:
        return "ja"  # Chinese characters alone are Chinese; with kana among them they are Japanese
    language = SCRIPTS.get(scripts.most_common(1)[0][0])
    if language is None:
        return _guess_latin(text)
    for relative, letters in OWN_LETTERS.get(language, ()):
        if any(letter in letters for letter in text):
            return relative
    return language


def _script(letter: str) -> str:
    return unicodedata.name(letter, "").split(" ")[0]


def _guess_latin(text: str) -> str:
    """The language with the most common words; a letter of its own counts as much as a word."""
    text = unicodedata.normalize("NFC", text).casefold()
    words = re.findall(r"[\w-]+", text)

    def score(language: str) -> int:
        common, letters = LATIN[language]
        known = set(common.split())
        return sum(word in known for word in words) + sum(letter in letters for letter in text)

    return max(LATIN, key=score)  # on a draw the first: English
