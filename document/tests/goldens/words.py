#!/usr/bin/env python3
"""Writes words.jsonl: texts, and their words by spaCy's blank English pipeline.

    pip install spacy==3.8.* && python words.py > words.jsonl
"""
import itertools
import json
import random
import sys

import spacy

TEXTS = [
    "Don't split e.g. well-known words (or 10km). I'd've gone; they'll've seen it's John's dog.",
    'He said: "Mr. Smith’s flat in St. Louis, Mo. costs US$1,200.50 (5€ more)..." — really?!',
    "See https://example.org/a/b?c=d#e, www.example.com. or mail to.me+x@mail.example.co.uk!",
    "ftp://user:pw@host.example.net:2121/x 8.8.8.8 10.0.0.1 192.168.1.1:80 300.1.1.1 1.2.3.4/x",
    "file.txt README.md v1.2.3 end.Start 3.14 .5 5. U.S. U.S.A. NASA. i.e. Ph.D. a.m. 9a.m. 10pm",
    "text:) text:-) (: =) 8) (see 8) <3 >.< ^_^ \\n \\t C++ c++ and/or w/o either/or",
    "wait… what……no ... a..b a....b -- a--b a---b a----b a—b a——b 5-6 5--6 x-5 5-x 5+5 5*-5 2^8",
    "±5 ≥10 20°C. 20 °F. 100%. 50m² 3m/s 60km/h 5'10\" 6ft. 10MB 10Mb 2K 4T £5 5£ 5US$ $5 C$5",
    "'quoted' and ''double'' ‘curly’ “text”. «guillemets» „low“ 「日本語」です。 你好，世界！ مرحبا، العالم؟",
    "cannot gonna gotta Im ive youre hes its Its were Well well id wed shed theyd'nt dont cant wont",
    "ain't shan't won't've c'mon y'all yall ma'am o'clock Ol' goin' doin 'em 'cause 'Cause 'tis ’em",
    "[1] [citation needed] {a:b} <b>bold</b> a<b a>b a=b a:b a/b 1/2 1:2 a,b 1,000 A.B a.B a.b A.b",
    "★ star★ ★star mid★dle ♥♥ 🎉party🎉 ☎123 → a→b ©2020 ® TM™ 1№2 · a·b ~ a~b _ _a_ a_b #tag @me",
    "|a|b| a|b | ` `code` ´x´ ^ ^a a^b \\ a\\b * *a* **b** & a&b AT&T R&D %a a% + +a a+ +5 5+ = =a a=",
    "tab\tand\nnew\n\nline  two   spaces\u00a0nbsp\u2003em \u200bzero \x1cfs \x85nel",
    "I’m you’re he’s we’ll they’d’ve how’d’y don’t O’Brien’s dogs’ rock’n’roll 90’s 1990s '90s",
    "No.5 No. 5 p.5 pp. 10-12 Fig. 3a, (Fig.3) Dr.)Who Jan.1 vs.them etc.)",
    "Привет, мир! 5кг 10м/с ЁЖИК. ёжик. Αθήνα. ΑΘΗΝΑ. naïve café's Ünïcödé-ähnlich straße.",
    "http:// :// a@ @b a@b a@b.c a@b.co x.y.zz X.Y.ZZ x..yy -a.bb a-.bb a_b.cc 1.com 1.2.com",
    "$ US$ 'S 'S. 's. x's' ''s ’s’ (') (\") .. . ... , ,, ;: !? ?! ¿Qué? ¡Ay! §5 5§ № %",
]
PIECES = (
    "a B ab AB Ab 5 12 . .. ... … , : ; ! ? ( ) [ ] < > = / - -- — – ~ ' '' \" ’ ‘ “ ” _ # * & % + $ US$ € °C ° "
    "km m/s s 's ’s n't 'll don't e.g. Mr. a.m. :) 8) ★ 🎉 © é É ß д Д 日 本 @ www. .com http:// 1.2 | ^ ` \\ co."
).split()


def main():
    words = spacy.blank("en").tokenizer
    rng = random.Random(5)
    texts = list(TEXTS)
    # Without spaces: the reference looks for emoticons across them, finds what is none, and lets that
    # hide a real one beside it. Ours does not.
    for length in itertools.islice(itertools.cycle(range(2, 9)), 1200):
        texts.append("".join(rng.choices(PIECES, k=length)))
    for text in texts:
        split = [word for word in (token.text.strip() for token in words(text)) if word]
        json.dump([text, split], sys.stdout, ensure_ascii=False)
        sys.stdout.write("\n")


main()
