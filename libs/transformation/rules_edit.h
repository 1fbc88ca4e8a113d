#pragma once

#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "libs/transformation/rules_document.h"

namespace millrace::transformation::rules {

/// Changes to a document's bytes, put into them together. Those of one round touch different
/// places; a member that is removed is in no value that is replaced. One thread.
class Edits {
 public:
  /// `text` must live until Apply; Keep makes it so.
  void Replace(uint32_t begin, uint32_t end, std::string_view text) {
    replacements_.push_back({begin, end, text});
    bytes_ += text.size();
  }
  void Remove(const Match& match) { removed_.push_back(match); }
  /// A member ("key":value) for the front of the object that begins at `object`.
  void Insert(uint32_t object, std::string_view member) {
    inserted_.push_back({object, member});
    bytes_ += member.size();
  }
  std::string_view Keep(std::string text) { return kept_.emplace_back(std::move(text)); }

  /// Of what is put in.
  size_t bytes() const { return bytes_; }
  bool empty() const { return replacements_.empty() && removed_.empty() && inserted_.empty(); }
  /// Whether a member was inserted that made objects around it.
  bool made_objects = false;

  /// Appends the bytes with all changes; none are left then.
  void Apply(std::string_view text, std::string* out);
  void Clear();

 private:
  struct Replacement {
    uint32_t begin, end;
    std::string_view text;
  };
  struct Insertion {
    uint32_t object;
    std::string_view member;
  };

  void RemoveMembers(std::string_view text);
  void InsertMembers(std::string_view text);
  bool Empties(std::string_view text, uint32_t object) const;

  std::vector<Replacement> replacements_;
  std::vector<Match> removed_;
  std::vector<Insertion> inserted_;
  std::vector<uint32_t> emptied_;  // containers all of whose members go
  std::deque<std::string> kept_;
  size_t bytes_ = 0;
};

}  // namespace millrace::transformation::rules
