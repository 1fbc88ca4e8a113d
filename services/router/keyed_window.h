#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "libs/base/string_map.h"

namespace millrace::router {

/// Lets one item of each key go at a time, in the order they came. Items of other keys pass.
///
/// `Item` has a member `Item* next_of_key`, which the window uses, and `std::string_view key`,
/// which must stay valid while the item is in. Borrows the items. One thread.
template <typename Item>
class KeyedWindow {
 public:
  /// True when `item` may go at once; otherwise it will be what Finish of its forerunner returns.
  bool Add(Item* item) {
    item->next_of_key = nullptr;
    ++size_;
    const auto [it, is_new] = tails_.try_emplace(item->key, item);
    if (is_new) return true;
    it->second->next_of_key = item;
    it->second = item;
    return false;
  }

  /// Takes out `item`, the one that was going; returns the next of its key, which may go now, or
  /// null.
  Item* Finish(Item* item) {
    --size_;
    Item* next = item->next_of_key;
    if (next == nullptr) tails_.erase(tails_.find(item->key));
    return next;
  }

  size_t size() const { return size_; }
  size_t keys() const { return tails_.size(); }

 private:
  StringMap<Item*> tails_;
  size_t size_ = 0;
};

}  // namespace millrace::router
