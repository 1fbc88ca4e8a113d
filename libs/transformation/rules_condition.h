#pragma once

#include <re2/re2.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/status.h"
#include "libs/transformation/rules_document.h"
#include "libs/transformation/rules_path.h"

namespace millrace::transformation::rules {

/// What is asked of an event: `type = track and not (properties.total >= 10 or context.ip exists)`.
/// A value; immutable once parsed.
class Condition {
 public:
  /// kInvalidArgument: what is wrong; `place` is then the byte of `text` where.
  static StatusOr<Condition> Parse(std::string_view text, PathTree* tree, size_t* place);

  bool Holds(const Document& document) const { return Holds(document, nodes_.back()); }
  const std::vector<Path>& paths() const { return paths_; }

 private:
  friend class ConditionParser;

  enum class Kind : uint8_t {
    kAnd,
    kOr,
    kNot,
    kExists,
    kIs,
    kCompare,
    kContains,
    kStarts,
    kEnds,
    kMatches
  };
  struct Literal {
    enum class Type : uint8_t { kText, kNumber, kOther } type = Type::kText;
    std::string text;  // plain, or of kOther the raw JSON: true, false, null
    double number = 0;
  };
  enum class Order : uint8_t { kLess, kLessEqual, kGreater, kGreaterEqual };
  struct Node {
    Kind kind = Kind::kAnd;
    Order order = Order::kLess;
    int left = -1, right = -1;      // of and, or, not
    int path = -1;                  // node of the tree
    std::vector<Literal> literals;  // of kIs: any of them
    std::shared_ptr<const RE2> pattern;
  };

  bool Holds(const Document& document, const Node& node) const;
  static bool HoldsFor(std::string_view raw, const Node& node);
  static bool Is(std::string_view raw, const Literal& literal);

  std::vector<Node> nodes_;  // children before their parents
  std::vector<Path> paths_;
};

}  // namespace millrace::transformation::rules
