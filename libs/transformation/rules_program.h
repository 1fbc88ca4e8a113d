#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "libs/base/status.h"
#include "libs/transformation/rules_condition.h"
#include "libs/transformation/rules_document.h"
#include "libs/transformation/rules_edit.h"
#include "libs/transformation/rules_values.h"

namespace millrace::transformation::rules {

/// Drops the event when the condition holds, or with `unless` when it does not.
struct DropOp {
  std::optional<Condition> condition;  // none: always
  bool unless = false;
};
/// Keeps the events whose id lies below `share`.
struct SampleOp {
  double share = 1;
  std::vector<int> ids;  // nodes: the first that is there counts
};
struct RemoveOp {
  int node = 0;
};
/// A path without wildcards, and the nodes on the way to it (the event's first, its own last).
struct Target {
  Path path;
  std::vector<int> nodes;
};
struct RenameOp {
  int from = 0;
  int to = 0;
  std::string key;  // quoted; when only the key changes
  Target target;    // else
};
/// Of an object's members only some stay: those named, or those that are not null.
struct KeepOp {
  int object = 0;
  std::vector<std::string> names;
  bool not_null = false;
};
struct ValueOp {
  enum class Otherwise { kKeep, kRemove, kNull };
  int node = 0;
  std::function<NewValue(std::string_view raw)> make;
  Otherwise otherwise = Otherwise::kKeep;  // when `make` makes nothing
};
struct SetOp {
  Target target;
  std::string value;  // JSON
};

struct Op {
  std::variant<DropOp, SampleOp, RemoveOp, RenameOp, KeepOp, ValueOp, SetOp> what;
  std::vector<Path> reads;  // with those it writes
  std::vector<Path> writes;
  bool flush_before = false;  // it sees what an op before it in the rule changed
};

struct Rule {
  std::optional<Condition> when;
  std::vector<Op> ops;
  bool flush_before = false;  // it sees what a rule before it changed
};

/// What one event at a time is worked on with; of one program and one thread.
struct Scratch {
  explicit Scratch(const PathTree& tree) : document(tree) {}
  Document document;
  Edits edits;
};

/// Rules, compiled. Immutable once Finish was called; any thread, each with a Scratch of its own.
class Program {
 public:
  PathTree& tree() { return tree_; }
  const PathTree& tree() const { return tree_; }
  void Add(Rule rule) { rules_.push_back(std::move(rule)); }
  /// Finds out which rules must see the changes of those before.
  void Finish();

  enum class Verdict { kSame, kChanged, kDropped };
  /// kChanged: the new event was appended to `out`. kInvalidArgument: the event is no JSON object.
  /// `event` is JSON.
  StatusOr<Verdict> Run(std::string_view event, std::string_view message_id, Scratch* scratch,
                        std::string* out) const;

 private:
  PathTree tree_;
  std::vector<Rule> rules_;
};

}  // namespace millrace::transformation::rules
