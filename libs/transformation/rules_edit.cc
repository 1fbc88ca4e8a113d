#include "libs/transformation/rules_edit.h"

#include <algorithm>

namespace millrace::transformation::rules {
namespace {

bool IsSpace(char c) {
  return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

// From the end of an item: where the next one begins, or kNone.
uint32_t NextItem(std::string_view text, uint32_t end) {
  while (IsSpace(text[end])) ++end;
  if (text[end] != ',') return kNone;
  do ++end;
  while (IsSpace(text[end]));
  return end;
}

// From the beginning of an item: where the one before ends, or kNone.
uint32_t EndOfPrevious(std::string_view text, uint32_t begin) {
  do --begin;
  while (IsSpace(text[begin]));
  if (text[begin] != ',') return kNone;
  do --begin;
  while (IsSpace(text[begin]));
  return begin + 1;
}

}  // namespace

void Edits::Clear() {
  replacements_.clear();
  removed_.clear();
  inserted_.clear();
  emptied_.clear();
  kept_.clear();
  bytes_ = 0;
  made_objects = false;
}

// A run of neighbours goes with the commas after it; at the end of its container with the one
// before.
void Edits::RemoveMembers(std::string_view text) {
  if (removed_.size() > 1) std::ranges::sort(removed_, {}, &Match::begin);
  for (size_t i = 0; i < removed_.size();) {
    const uint32_t begin = removed_[i].begin;
    const uint32_t container = removed_[i].container;
    uint32_t end = removed_[i].value_end;
    uint32_t next = NextItem(text, end);
    for (++i; i < removed_.size() && removed_[i].begin <= (next == kNone ? end : next); ++i) {
      if (removed_[i].value_end <= end) continue;  // the same again, or inside one that goes
      end = removed_[i].value_end;
      next = NextItem(text, end);
    }
    if (next != kNone) {
      Replace(begin, next, {});
      continue;
    }
    const uint32_t previous = EndOfPrevious(text, begin);
    if (previous == kNone) emptied_.push_back(container);
    Replace(previous == kNone ? begin : previous, end, {});
  }
}

bool Edits::Empties(std::string_view text, uint32_t object) const {
  if (std::ranges::find(emptied_, object) != emptied_.end()) return true;
  do ++object;
  while (IsSpace(text[object]));
  return text[object] == '}';
}

void Edits::InsertMembers(std::string_view text) {
  if (inserted_.size() > 1) std::ranges::stable_sort(inserted_, {}, &Insertion::object);
  for (size_t i = 0; i < inserted_.size();) {
    const uint32_t object = inserted_[i].object;
    std::string members;
    for (; i < inserted_.size() && inserted_[i].object == object; ++i) {
      if (!members.empty()) members += ',';
      members += inserted_[i].member;
    }
    if (!Empties(text, object)) members += ',';
    Replace(object + 1, object + 1, Keep(std::move(members)));
  }
}

void Edits::Apply(std::string_view text, std::string* out) {
  RemoveMembers(text);
  InsertMembers(text);
  // No two are the same: those of one object's insertions were made one.
  if (replacements_.size() > 1) {
    std::ranges::sort(replacements_, [](const Replacement& a, const Replacement& b) {
      return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
    });
  }
  size_t at = 0;
  for (const Replacement& one : replacements_) {
    out->append(text.substr(at, one.begin - at)).append(one.text);
    at = one.end;
  }
  out->append(text.substr(at));
  Clear();
}

}  // namespace millrace::transformation::rules
