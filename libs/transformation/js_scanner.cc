#include "libs/transformation/js_scanner.h"

#include <algorithm>
#include <array>

namespace millrace::transformation {
namespace {

enum class Kind : uint8_t { kWord, kNumber, kText, kTemplate, kRegex, kPunctuation };

struct Token {
  Kind kind = Kind::kPunctuation;
  std::string_view text;  // of a text: what stands between the quotes
  int line = 0;
  int column = 0;
  int depth = 0;  // of brackets around it
};

bool IsWordStart(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '$' || c == '#' ||
         static_cast<unsigned char>(c) >= 0x80;
}
bool IsDigit(char c) {
  return c >= '0' && c <= '9';
}

class Tokenizer {
 public:
  explicit Tokenizer(std::string_view source) : source_(source) {}

  std::vector<Token> Run() {
    while (at_ < source_.size()) {
      if (SkipBlank()) continue;
      Next();
    }
    return std::move(tokens_);
  }

 private:
  char Peek(size_t ahead = 0) const {
    return at_ + ahead < source_.size() ? source_[at_ + ahead] : '\0';
  }
  void Step() {
    if (source_[at_] == '\n') {
      ++line_;
      column_ = 1;
    } else if ((static_cast<unsigned char>(source_[at_]) & 0xC0) != 0x80) {
      ++column_;
    }
    ++at_;
  }
  void Step(size_t count) {
    for (; count > 0 && at_ < source_.size(); --count) Step();
  }

  /// White space and comments; whether there were any.
  bool SkipBlank() {
    const char c = Peek();
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
      Step();
      return true;
    }
    if (c != '/' || (Peek(1) != '/' && Peek(1) != '*')) return false;
    const bool line = Peek(1) == '/';
    const size_t end = line ? source_.find('\n', at_) : source_.find("*/", at_ + 2);
    const size_t stop = end == std::string_view::npos ? source_.size() : end + (line ? 0 : 2);
    Step(stop - at_);
    return true;
  }

  void Add(Kind kind, size_t begin, size_t end, int line, int column) {
    tokens_.push_back({kind, source_.substr(begin, end - begin), line, column, depth_});
  }

  void Next() {
    const char c = Peek();
    const size_t begin = at_;
    const int line = line_;
    const int column = column_;
    if (IsWordStart(c)) {
      while (IsWordStart(Peek()) || IsDigit(Peek())) Step();
      Add(Kind::kWord, begin, at_, line, column);
    } else if (IsDigit(c)) {
      while (IsWordStart(Peek()) || IsDigit(Peek()) || Peek() == '.') Step();
      Add(Kind::kNumber, begin, at_, line, column);
    } else if (c == '"' || c == '\'') {
      Quoted(c);
      Add(Kind::kText, begin + 1, std::max(begin + 1, at_ - 1), line, column);
    } else if (c == '`') {
      Step();
      Template();
    } else if (c == '/' && RegexMayStand()) {
      Regex();
      Add(Kind::kRegex, begin, at_, line, column);
    } else {
      Punctuation();
    }
  }

  void Quoted(char quote) {
    Step();
    while (at_ < source_.size() && Peek() != quote && Peek() != '\n') Step(Peek() == '\\' ? 2 : 1);
    if (Peek() == quote) Step();
  }

  /// The text of a template up to its end, or up to a `${`; its `}` comes back here.
  void Template() {
    const int line = line_;
    const int column = column_;
    const size_t begin = at_;
    while (at_ < source_.size()) {
      if (Peek() == '`' || (Peek() == '$' && Peek(1) == '{')) break;
      Step(Peek() == '\\' ? 2 : 1);
    }
    Add(Kind::kTemplate, begin, at_, line, column);
    if (Peek() == '$') {
      Step(2);
      templates_.push_back(depth_);
      ++depth_;
    } else if (at_ < source_.size()) {
      Step();
    }
  }

  void Regex() {
    bool set = false;
    Step();
    while (at_ < source_.size() && Peek() != '\n' && (set || Peek() != '/')) {
      if (Peek() == '[') set = true;
      if (Peek() == ']') set = false;
      Step(Peek() == '\\' ? 2 : 1);
    }
    if (Peek() == '/') Step();
    while (IsWordStart(Peek())) Step();
  }

  void Punctuation() {
    const char c = Peek();
    if (c == '}' && !templates_.empty() && templates_.back() == depth_ - 1) {
      templates_.pop_back();
      --depth_;
      Step();
      Template();
      return;
    }
    if (c == ')' || c == ']' || c == '}') depth_ = std::max(0, depth_ - 1);
    const size_t begin = at_;
    const int line = line_;
    const int column = column_;
    const bool optional = c == '?' && Peek(1) == '.' && !IsDigit(Peek(2));
    const bool spread = c == '.' && Peek(1) == '.' && Peek(2) == '.';
    Step(spread ? 3 : optional ? 2 : 1);
    Add(Kind::kPunctuation, begin, at_, line, column);
    if (c == '(' || c == '[' || c == '{') ++depth_;
  }

  /// Whether a slash here begins a regular expression rather than divides.
  bool RegexMayStand() const {
    if (tokens_.empty()) return true;
    const Token& last = tokens_.back();
    if (last.kind == Kind::kPunctuation) {
      return last.text != ")" && last.text != "]" && last.text != "}";
    }
    static constexpr std::array<std::string_view, 14> kBefore = {
        "return", "typeof", "case",       "in",   "of", "delete", "void",
        "throw",  "new",    "instanceof", "else", "do", "yield",  "await"};
    return last.kind == Kind::kWord &&
           std::find(kBefore.begin(), kBefore.end(), last.text) != kBefore.end();
  }

  const std::string_view source_;
  size_t at_ = 0;
  int line_ = 1;
  int column_ = 1;
  int depth_ = 0;
  std::vector<int> templates_;  // depths around the open `${`
  std::vector<Token> tokens_;
};

class Reader {
 public:
  explicit Reader(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  Scan Run() {
    for (size_t i = 0; i < tokens_.size(); ++i) {
      const Token& token = tokens_[i];
      if (token.kind != Kind::kWord || IsMember(i)) continue;
      if (token.text == "import") {
        Import(i);
      } else if (token.text == "export" && token.depth == 0) {
        scan_.exports_something = true;
        Export(i);
      } else if (token.text == "store") {
        // `{store: 1}` names a member.
        const bool member = Is(i + 1, ":") && (Is(i - 1, "{") || Is(i - 1, ","));
        if (!member) scan_.uses_store = true;
      } else if (token.text == "transform" && token.depth == 0 && i > 0) {
        const std::string_view before = tokens_[i - (Is(i - 1, "*") ? 2 : 1)].text;
        for (const char* word : {"function", "const", "let", "var"}) {
          if (before == word) scan_.defines_transform = true;
        }
      }
    }
    return std::move(scan_);
  }

 private:
  bool Is(size_t i, std::string_view text) const {
    return i < tokens_.size() && tokens_[i].kind != Kind::kText &&
           tokens_[i].kind != Kind::kTemplate && tokens_[i].text == text;
  }
  bool IsText(size_t i) const { return i < tokens_.size() && tokens_[i].kind == Kind::kText; }
  bool IsMember(size_t i) const { return i > 0 && (Is(i - 1, ".") || Is(i - 1, "?.")); }

  static ImportStatement At(const Token& specifier) {
    return {std::string(specifier.text), specifier.line, specifier.column, {}, false};
  }

  void Import(size_t i) {
    if (IsText(i + 1)) {
      if (tokens_[i].depth == 0) scan_.imports.push_back(At(tokens_[i + 1]));
      return;
    }
    if (Is(i + 1, "(")) {
      if (IsText(i + 2)) scan_.imports.push_back(At(tokens_[i + 2]));
      return;
    }
    if (tokens_[i].depth == 0) From(i + 1, true);
  }

  void Export(size_t i) {
    if (Is(i + 1, "*")) {
      const size_t count = scan_.imports.size();
      From(i + 1, false);
      if (scan_.imports.size() > count && !Is(i + 2, "as"))
        scan_.imports.back().all_exported = true;
    } else if (Is(i + 1, "{")) {
      From(i + 1, false);
    }
  }

  /// The clause from token `i` on, if it ends in `from 'specifier'`.
  void From(size_t i, bool import) {
    std::vector<ImportedName> names;
    const auto add = [&](const Token& token, bool as_default) {
      names.push_back({as_default ? "default" : std::string(token.text), token.line, token.column});
    };
    bool braces = false;
    bool renamed = false;
    for (; i < tokens_.size() && !Is(i, "from") && !Is(i, ";"); ++i) {
      if (!braces && (Is(i, "import") || Is(i, "export"))) return;  // the next statement
      if (Is(i, "{")) {
        braces = true;
      } else if (Is(i, "}")) {
        braces = false;
        if (!Is(i + 1, "from")) return;  // exported without one
      } else if (Is(i, ",")) {
        renamed = false;
      } else if (Is(i, "as")) {
        renamed = true;
      } else if (Is(i, "*")) {
        continue;
      } else if (tokens_[i].kind != Kind::kWord && !IsText(i)) {
        return;  // no such clause
      } else if (!renamed && (braces || import)) {
        add(tokens_[i], !braces);
      }
    }
    // A binding may itself be called `from`.
    if (Is(i, "from") && Is(i + 1, "from")) ++i;
    if (!Is(i, "from") || !IsText(i + 1)) return;
    ImportStatement statement = At(tokens_[i + 1]);
    statement.names = std::move(names);
    scan_.imports.push_back(std::move(statement));
  }

  std::vector<Token> tokens_;
  Scan scan_;
};

}  // namespace

Scan ScanJavaScript(std::string_view source) {
  return Reader(Tokenizer(source).Run()).Run();
}

}  // namespace millrace::transformation
