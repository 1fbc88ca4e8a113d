#include <algorithm>
#include <cctype>
#include <cstdlib>

#include "libs/transformation/rules_condition.h"
#include "libs/transformation/rules_values.h"

namespace millrace::transformation::rules {

/// Recursive descent over one condition.
class ConditionParser {
 public:
  ConditionParser(std::string_view text, PathTree* tree) : text_(text), tree_(tree) {}

  StatusOr<Condition> Run() {
    MR_RETURN_IF_ERROR(Or().status());
    Space();
    if (at_ != text_.size()) return Fault("expected and, or, or the end");
    return std::move(condition_);
  }
  size_t at() const { return at_; }

 private:
  using Kind = Condition::Kind;
  using Node = Condition::Node;
  using Literal = Condition::Literal;

  static constexpr int kMaxDepth = 64;
  static constexpr size_t kMaxNodes = 1'000;

  Status Fault(std::string_view what) const {
    const std::string_view rest = text_.substr(at_, 24);
    return Error(StatusCode::kInvalidArgument, "{}, not \"{}\"", what,
                 rest.empty() ? "the end of the condition" : rest);
  }
  void Space() {
    while (at_ < text_.size() && std::isspace(static_cast<unsigned char>(text_[at_])) != 0) ++at_;
  }
  bool Take(std::string_view sign) {
    Space();
    if (!text_.substr(at_).starts_with(sign)) return false;
    at_ += sign.size();
    return true;
  }
  static bool EndsWord(char c) {
    return std::isspace(static_cast<unsigned char>(c)) != 0 ||
           std::string_view("()[],=!<>'").find(c) != std::string_view::npos;
  }
  std::string_view PeekWord() {
    Space();
    size_t end = at_;
    while (end < text_.size() && !EndsWord(text_[end])) ++end;
    return text_.substr(at_, end - at_);
  }
  bool TakeWord(std::string_view word) {
    const std::string_view next = PeekWord();
    const bool same = std::ranges::equal(next, word, [](char a, char b) {
      return std::tolower(static_cast<unsigned char>(a)) == b;
    });
    if (same) at_ += next.size();
    return same;
  }
  int Add(Node node) {
    condition_.nodes_.push_back(std::move(node));
    return static_cast<int>(condition_.nodes_.size()) - 1;
  }

  StatusOr<int> Or() {
    MR_ASSIGN_OR_RETURN(int left, And());
    while (TakeWord("or")) {
      MR_ASSIGN_OR_RETURN(const int right, And());
      left = Add({.kind = Kind::kOr, .left = left, .right = right});
    }
    return left;
  }
  StatusOr<int> And() {
    MR_ASSIGN_OR_RETURN(int left, Unary());
    while (TakeWord("and")) {
      MR_ASSIGN_OR_RETURN(const int right, Unary());
      left = Add({.kind = Kind::kAnd, .left = left, .right = right});
    }
    return left;
  }
  StatusOr<int> Unary() {
    if (condition_.nodes_.size() > kMaxNodes || depth_ > kMaxDepth) {
      return Fault("the condition is too large; make several rules of it");
    }
    if (TakeWord("not")) {
      ++depth_;
      MR_ASSIGN_OR_RETURN(const int inner, Unary());
      --depth_;
      return Add({.kind = Kind::kNot, .left = inner});
    }
    if (Take("(")) {
      ++depth_;
      MR_ASSIGN_OR_RETURN(const int inner, Or());
      --depth_;
      if (!Take(")")) return Fault("expected )");
      return inner;
    }
    return Comparison();
  }

  StatusOr<int> Comparison() {
    Node node;
    MR_ASSIGN_OR_RETURN(node.path, TakePath());
    bool negate = false;
    if (Take("==") || Take("=")) {
      node.kind = Kind::kIs;
      MR_RETURN_IF_ERROR(TakeLiteral(&node));
    } else if (Take("!=")) {
      node.kind = Kind::kIs;
      negate = true;
      MR_RETURN_IF_ERROR(TakeLiteral(&node));
    } else if (TakeOrder(&node.order)) {
      node.kind = Kind::kCompare;
      MR_RETURN_IF_ERROR(TakeLiteral(&node));
      if (node.literals[0].type == Literal::Type::kOther)
        return Fault("expected a number or a text before");
    } else {
      negate = TakeWord("not");
      MR_RETURN_IF_ERROR(TakeNamed(&node));
    }
    const int index = Add(std::move(node));
    return negate ? Add({.kind = Kind::kNot, .left = index}) : index;
  }
  bool TakeOrder(Condition::Order* order) {
    using Order = Condition::Order;
    if (Take("<=")) return *order = Order::kLessEqual, true;
    if (Take("<")) return *order = Order::kLess, true;
    if (Take(">=")) return *order = Order::kGreaterEqual, true;
    if (Take(">")) return *order = Order::kGreater, true;
    return false;
  }
  Status TakeNamed(Node* node) {
    if (TakeWord("exists")) {
      node->kind = Kind::kExists;
      return OkStatus();
    }
    if (TakeWord("in")) {
      node->kind = Kind::kIs;
      return TakeList(node);
    }
    const bool pattern = TakeWord("matches");
    if (pattern)
      node->kind = Kind::kMatches;
    else if (TakeWord("contains"))
      node->kind = Kind::kContains;
    else if (TakeWord("starts_with"))
      node->kind = Kind::kStarts;
    else if (TakeWord("ends_with"))
      node->kind = Kind::kEnds;
    else
      return Fault(
          "after a path comes =, !=, <, <=, >, >=, in, contains, starts_with, ends_with, matches "
          "or exists");
    const size_t before = at_;
    MR_RETURN_IF_ERROR(TakeLiteral(node));
    const Literal& literal = node->literals[0];
    if (literal.type != Literal::Type::kText && node->kind != Kind::kContains) {
      at_ = before;
      Space();
      return Fault("expected a text in quotes");
    }
    if (!pattern) return OkStatus();
    RE2::Options options;
    options.set_log_errors(false);
    node->pattern = std::make_shared<const RE2>(literal.text, options);
    if (node->pattern->ok()) return OkStatus();
    at_ = before;
    Space();
    return Error(StatusCode::kInvalidArgument, "\"{}\" is no regular expression (RE2): {}",
                 literal.text, node->pattern->error());
  }
  Status TakeList(Node* node) {
    if (!Take("[")) return Fault("expected a list such as [a, b]");
    do {
      MR_RETURN_IF_ERROR(TakeLiteral(node));
    } while (Take(","));
    if (!Take("]")) return Fault("expected , or ]");
    return OkStatus();
  }

  StatusOr<int> TakePath() {
    Space();
    size_t end = at_;
    while (end < text_.size() && !EndsWord(text_[end])) {
      if (text_[end] == '"') end = std::min(text_.find('"', end + 1), text_.size() - 1);
      ++end;
    }
    if (end == at_) return Fault("expected a path such as properties.total");
    MR_ASSIGN_OR_RETURN(Path path, ParsePath(text_.substr(at_, end - at_)));
    at_ = end;
    const int node = tree_->Add(path);
    condition_.paths_.push_back(std::move(path));
    return node;
  }
  Status TakeLiteral(Node* node) {
    Space();
    Literal literal;
    if (at_ < text_.size() && (text_[at_] == '\'' || text_[at_] == '"')) {
      MR_RETURN_IF_ERROR(TakeQuoted(&literal.text));
    } else {
      const std::string_view word = PeekWord();
      if (word.empty()) return Fault("expected a value");
      at_ += word.size();
      literal.text = word;
      if (word == "true" || word == "false" || word == "null") literal.type = Literal::Type::kOther;
      if (const NewValue number = IsNumberValue(word)
                                      ? CastValue('"' + literal.text + '"', CastType::kNumber)
                                      : std::nullopt) {
        literal.type = Literal::Type::kNumber;
        literal.number = std::strtod(number->c_str(), nullptr);
      }
    }
    node->literals.push_back(std::move(literal));
    return OkStatus();
  }
  // '…' as it stands, '' being a quote; in "…" a backslash goes before \ and " and makes \n and \t.
  Status TakeQuoted(std::string* out) {
    const size_t open = at_;
    const char quote = text_[at_++];
    while (at_ < text_.size()) {
      const char c = text_[at_++];
      if (c == quote) {
        if (quote != '\'' || at_ == text_.size() || text_[at_] != '\'') return OkStatus();
        ++at_;
      } else if (c == '\\' && quote == '"' && at_ < text_.size()) {
        const char escaped = text_[at_++];
        *out += escaped == 'n' ? '\n' : escaped == 't' ? '\t' : escaped;
        continue;
      }
      *out += c;
    }
    at_ = open;
    return Fault("a quote is not closed");
  }

  std::string_view text_;
  PathTree* tree_;
  size_t at_ = 0;
  int depth_ = 0;
  Condition condition_;
};

StatusOr<Condition> Condition::Parse(std::string_view text, PathTree* tree, size_t* place) {
  ConditionParser parser(text, tree);
  auto condition = parser.Run();
  *place = parser.at();
  return condition;
}

}  // namespace millrace::transformation::rules
