#pragma once

#include <simdjson.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "libs/base/status.h"
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
class Document {
 public:
  explicit Document(const PathTree& tree);

  /// Copies the event. kInvalidArgument: it is not a JSON object.
  Status Load(std::string_view json);
  /// The same for what was made of a loaded one.
  bool Replace(std::string_view json);

  std::string_view text() const { return {buffer_.data(), size_}; }
  /// Bytes that it holds for the largest event so far.
  size_t capacity() const { return buffer_.size(); }
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
  bool Index(std::string_view json);
  bool Scan();
  uint32_t Walk(uint32_t token, int node);
  uint32_t Visit(uint32_t token, uint32_t begin, uint32_t container, int child, bool single);
  uint32_t SkipValue(uint32_t token) const;
  bool IsString(uint32_t token) const {
    return CharAt(token) == '"' && (!escapes_ || HasGoodEscapes(token));
  }
  bool HasGoodEscapes(uint32_t token) const;
  bool IsScalar(uint32_t token) const;
  uint32_t ValueEnd(uint32_t token_after) const;
  int FindChild(const PathTree::Node& node, std::string_view raw_key) const;
  std::string WithoutDuplicates();

  char CharAt(uint32_t token) const { return buffer_[tokens()[token]]; }
  // Offsets of brackets, braces, colons, commas, opening quotes and the first bytes of other
  // scalars.
  const uint32_t* tokens() const { return indexer_->structural_indexes.get(); }

  const PathTree& tree_;
  std::unique_ptr<simdjson::internal::dom_parser_implementation> indexer_;
  std::string buffer_;  // padded
  size_t size_ = 0;
  uint32_t open_ = 0;  // where the event's object begins
  bool escapes_ = false;
  std::vector<State> states_;  // by node
  std::vector<Match> matches_;
  std::vector<Match> duplicates_;
};

}  // namespace millrace::transformation::rules
