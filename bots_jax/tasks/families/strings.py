"""Families about words and symbol strings."""

from __future__ import annotations

from string import ascii_uppercase

from bots_jax.tasks.families.family import Entry, Family, ignoring_question

_QUOTE = '" appear in the text: "'
_AB_SHORT = {"A#": "a", "#A": "x", "B#": "b", "#B": "y"}
_AB_LONG = {short: token for token, short in _AB_SHORT.items()}
_AB_EXCHANGE = str.maketrans("axby", "byax")


def forward_word(entry: Entry) -> list[str]:
    """Copies the word; else also exchanges the first two letters of the right answer.

    >>> forward_word({"answer": "nus", "metadata": {"word": "sun"}})
    ['sun', 'uns']
    """
    right = entry["answer"]
    return [entry["metadata"]["word"], right[1::-1] + right[2:]]


def shorten_counting(content: str) -> str:
    """Writes `letter:text`.

    >>> shorten_counting('e" appear in the text: "the tree')
    'e:the tree'
    """
    return content.replace(_QUOTE, ":")


def lengthen_counting(short: str) -> str:
    """Inverts `shorten_counting`.

    >>> lengthen_counting("e:the tree")
    'e" appear in the text: "the tree'
    """
    return short.replace(":", _QUOTE)


def one_letter_more(entry: Entry) -> list[str]:
    """Counts one letter too many.

    >>> one_letter_more({"answer": "2"})
    ['3']
    """
    return [str(int(entry["answer"]) + 1)]


def enciphered_twice(entry: Entry) -> list[str]:
    """Rotates the wrong way; else (rotation 13) one letter too far.

    >>> enciphered_twice({"metadata": {"cipher_text": "DBU", "rotation": 1}})
    ['ecv', 'ecv']
    """
    cipher, rotation = entry["metadata"]["cipher_text"], entry["metadata"]["rotation"]

    def rotate(steps: int) -> str:
        letters = (ascii_uppercase.index(letter) + steps for letter in cipher)
        return "".join(ascii_uppercase[letter % 26] for letter in letters).swapcase()

    return [rotate(rotation), rotate(1)]


def shorten_program(content: str) -> str:
    """Writes A# as a, #A as x, B# as b, #B as y: "ax" and "by" vanish.

    >>> shorten_program("A# #B")
    'ay'
    """
    return "".join(_AB_SHORT[token] for token in content.split())


def lengthen_program(short: str) -> str:
    """Inverts `shorten_program`; an unknown character stands for itself.

    >>> lengthen_program("ay")
    'A# #B'
    """
    return " ".join(_AB_LONG.get(letter, letter) for letter in short)


def exchanged_letters(entry: Entry) -> list[str]:
    """Takes every A for a B and every B for an A.

    >>> exchanged_letters({"answer": "#A B#"})
    ['ya']
    """
    return [shorten_program(entry["answer"]).translate(_AB_EXCHANGE)]


def number_of_ones(entry: Entry) -> list[str]:
    """Counts the ones in place of the swaps; else the zeros.

    >>> number_of_ones({"metadata": {"string": "1001"}})
    ['2', '2']
    """
    string = entry["metadata"]["string"]
    return [str(string.count("1")), str(string.count("0"))]


def _words(length: int) -> dict[str, int]:
    return {"min_word_len": length, "max_word_len": length}


def _span(words: int) -> dict[str, int]:
    return {"min_words": words, "max_words": words}


def _rotation(max_rotation: int) -> dict[str, object]:
    # Split at blanks, a "sentence" is one word.
    return {"delimiter": " ", **_span(1), "max_rotation": max_rotation}


def _bits(min_n: int, max_n: int) -> dict[str, int]:
    return {"min_n": min_n, "max_n": max_n}


SPELL_BACKWARD = Family(
    name="spell_backward",
    symbol="R",
    template="Spell this word backward (example: sun -> nus): {}",
    levels=(_words(3), _words(4), _words(6), _words(8)),
    mistakes=forward_word,
)

LETTER_COUNTING = Family(
    name="letter_counting",
    symbol="W",
    template='How many times does the letter "{}"?',
    levels=(_span(1), _span(2), _span(3), _span(4)),
    mistakes=one_letter_more,
    shorten=shorten_counting,
    lengthen=lengthen_counting,
)

CAESAR_CIPHER = Family(
    name="caesar_cipher",
    symbol="D",
    template=(
        "Decrypt this Caesar cipher text: {}. "
        "Provide only the decrypted text as your final answer."
    ),
    levels=(_rotation(1), _rotation(2), _rotation(5), _rotation(25)),
    mistakes=enciphered_twice,
    # swapcase, not lower and upper: only "cat" may then stand for "CAT".
    shorten=str.swapcase,
    lengthen=str.swapcase,
    shorten_answer=ignoring_question(str.swapcase),
    lengthen_answer=ignoring_question(str.swapcase),
)

AB = Family(
    name="ab",
    symbol="A",
    template="""A::B is a system with 4 tokens: `A#`, `#A`, `B#` and `#B`.

An A::B program is a sequence of tokens. Example:

    B# A# #B #A B#

To *compute* a program, we must rewrite neighbor tokens, using the rules:

    A# #A ... becomes ... nothing
    A# #B ... becomes ... #B A#
    B# #A ... becomes ... #A B#
    B# #B ... becomes ... nothing

In other words, whenever two neighbor tokens have their '#' facing each-other,
they must be rewritten according to the corresponding rule.

Now, consider the following program:

{}

Return the final state of the program.
""",
    levels=({"length": 3}, {"length": 4}, {"length": 6}, {"length": 8}),
    mistakes=exchanged_letters,
    shorten=shorten_program,
    lengthen=lengthen_program,
    shorten_answer=ignoring_question(shorten_program),
    lengthen_answer=ignoring_question(lengthen_program),
)

BINARY_ALTERNATION = Family(
    name="binary_alternation",
    symbol="S",
    template=(
        "Given a binary string, return the minimum number of character swaps to make "
        "it alternating, or -1 if it is impossible.\n\n"
        "The string is called alternating if no two adjacent characters are equal. "
        'For example, the strings "010" and "1010" are alternating, while the string '
        '"0100" is not.\n\n'
        "Any two characters may be swapped, even if they are not adjacent.\n\n"
        "Now, determine the minimum number of swaps to make the following binary "
        "string alternating: {}\n"
    ),
    levels=(_bits(2, 4), _bits(6, 7), _bits(9, 11), _bits(14, 16)),
    mistakes=number_of_ones,
)

STRINGS = (SPELL_BACKWARD, LETTER_COUNTING, CAESAR_CIPHER, AB, BINARY_ALTERNATION)
