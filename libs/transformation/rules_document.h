#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/status.h"
#include "libs/event/json_index.h"
#include "libs/transformation/rules_path.h"

namespace millrace::transformation::rules {

/// All paths that a program looks at. Immutable once the program is compiled.
class PathTree {
 public:
  struct Node {
    std::string name;
    int64_t index = -1;  // the name as the index of an array's element
    int any = -1;        // the child for each member
    std::vector<int> children;
  };

  PathTree() : nodes_(1) {}
  /// The node of `path`.
  int Add(const Path& path);
  const Node& node(int id) const { return nodes_[static_cast<size_t>(id)]; }
  size_t size() const { return nodes_.size(); }

 private:
  std::vector<Node> nodes_;  // the first is the event itself
};

constexpr uint32_t kNone = UINT32_MAX;
constexpr int kMaxNesting = 1024;

/// A member or an element that was found, as offsets into the event.
struct Match {
  uint32_t begin = 0;  // of the key, with its quote, or of the element
  uint32_t value_begin = 0;
  uint32_t value_end = 0;
  uint32_t container = 0;  // where the object or array that it is in begins
  uint32_t next = kNone;   // another match of the same node
};

/// One event's bytes, and where in them the tree's paths are. Meant to be used again for one event
/// after another; one thread.
///
/// Events are taken for JSON, as events in the log and results of transformations are: what no path
/// leads through is passed over. On text that is none the answers are nonsense, no more.
class Document {
 public:
  explicit Document(const PathTree& tree);

  /// `json` lives until the next Load or Replace. kInvalidArgument: it is not an object.
  Status Load(std::string_view json);
  /// The same for what was made of a loaded one. False: it is nested deeper than kMaxNesting.
  bool Replace(std::string json);

  std::string_view text() const { return text_; }
  /// Bytes that it holds on to, about.
  size_t capacity() const { return made_.capacity() + matches_.capacity() * sizeof(Match); }
  std::string_view Value(const Match& match) const {
    return text().substr(match.value_begin, match.value_end - match.value_begin);
  }
  /// The matches of a node, the last one in the event first; null when there is none. Of a key that
  /// stands twice only the last remains.
  const Match* First(int node) const { return At(states_[static_cast<size_t>(node)].last); }
  const Match* Next(const Match* match) const { return At(match->next); }
  /// Where the object at a node without wildcards begins, kNone when there is none.
  uint32_t ObjectAt(int node) const;

 private:
  struct State {
    uint32_t last = kNone;
    uint32_t container = kNone;  // of `last`
  };

  const Match* At(uint32_t index) const { return index == kNone ? nullptr : &matches_[index]; }
  bool Scan();
  const char* Walk(const char* at, int node);
  const char* WalkItem(const char* at, const PathTree::Node& node, bool object, int64_t index,
                       uint32_t container);
  const char* Visit(const char* at, uint32_t begin, uint32_t container, int child, bool single);
  int FindChild(const PathTree::Node& node, std::string_view quoted_key) const;
  int FindElement(const PathTree::Node& node, int64_t index) const;
  Status LoadWithoutDuplicates();
  std::string WithoutDuplicates();
  const char* end() const { return text_.data() + text_.size(); }
  uint32_t OffsetOf(const char* at) const { return static_cast<uint32_t>(at - text_.data()); }

  const PathTree& tree_;
  std::string_view text_;
  event::JsonIndex index_;
  std::string made_;           // by Replace
  uint32_t open_ = 0;          // where the event's object begins
  std::vector<State> states_;  // by node
  std::vector<Match> matches_;
  std::vector<Match> duplicates_;
};

}  // namespace millrace::transformation::rules
