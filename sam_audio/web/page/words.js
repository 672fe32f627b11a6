// Texts to tokens, as peav/nano/wordpiece.py and peav/nano/words.py do.

const SPECIAL = /(\[PAD\]|\[UNK\])/;
const SPACE = /[\p{White_Space}\x1c-\x1f]/u;
const UNSEEN = /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\ufffd]/u;
const PUNCTUATION = /[!-/:-@[-`{-~\p{P}]/u;

export class Words {
  // Of a tokenizer.json; `rules` are the numbers that Python gives beside it.
  constructor(tokenizer, rules) {
    this.vocabulary = new Map(Object.entries(tokenizer.model.vocab));
    this.unknown = this.vocabulary.get("[UNK]");
    this.rules = rules;
  }

  // Whether any of a text is known; the vectors of texts of which nothing is are all alike.
  reads(text) {
    return this.tokens(text).some((token) => token !== this.unknown);
  }

  tokens(text) {
    const found = [];
    for (const part of text.split(SPECIAL)) {
      if (SPECIAL.test(part)) found.push(this.vocabulary.get(part));
      else for (const word of this.split(part)) found.push(...this.pieces(word));
    }
    return found.slice(0, this.rules.longest);
  }

  // Words in small letters without accents; each sign of punctuation and each ideograph is a word of its own.
  split(text) {
    let cleaned = "";
    for (const char of text) {
      if (/[\t\n\r]/.test(char)) cleaned += " ";
      else if (!UNSEEN.test(char)) cleaned += this.isIdeograph(char) ? ` ${char} ` : char;
    }
    const words = [""];
    for (const char of cleaned.normalize("NFD").replace(/\p{Mn}/gu, "")) {
      for (const small of char.toLowerCase()) {
        if (PUNCTUATION.test(small)) words.push(small, "");
        else if (SPACE.test(small)) words.push("");
        else words.push(words.pop() + small);
      }
    }
    return words.filter((word) => word);
  }

  isIdeograph(char) {
    const code = char.codePointAt(0);
    return this.rules.ideographs.some(([low, high]) => low <= code && code <= high);
  }

  // The longest pieces, from left to right; one unknown token if there are not enough of them.
  pieces(word) {
    const letters = [...word];
    if (letters.length > this.rules.longest_word) return [this.unknown];
    const pieces = [];
    for (let start = 0; start < letters.length; ) {
      let stop = letters.length;
      let token;
      for (; stop > start && token === undefined; stop--) {
        token = this.vocabulary.get((start ? "##" : "") + letters.slice(start, stop).join(""));
      }
      if (token === undefined) return [this.unknown];
      pieces.push(token);
      start = stop + 1;
    }
    return pieces;
  }
}
