#include "libs/transformation/fetch_cache.h"

#include <iterator>
#include <utility>

namespace millrace::transformation {

size_t FetchCache::BytesOf(const Entry& entry) {
  constexpr size_t kNodes = 256;  // of list and index, about
  return 2 * entry.key.size() + entry.value->size() + kNodes;
}

void FetchCache::Erase(Entries::iterator entry) {
  bytes_ -= BytesOf(*entry);
  index_.erase(entry->key);
  entries_.erase(entry);
}

std::shared_ptr<const std::string> FetchCache::Get(const std::string& key, MonotonicTime now) {
  const auto found = index_.find(key);
  if (found == index_.end()) return nullptr;
  const Entries::iterator entry = found->second;
  if (entry->expires <= now) {
    Erase(entry);
    return nullptr;
  }
  entries_.splice(entries_.begin(), entries_, entry);
  return entry->value;
}

void FetchCache::Put(const std::string& key, std::shared_ptr<const std::string> value,
                     MonotonicTime expires) {
  if (const auto found = index_.find(key); found != index_.end()) Erase(found->second);
  Entry entry{.key = key, .value = std::move(value), .expires = expires};
  const size_t bytes = BytesOf(entry);
  if (bytes > max_bytes_) return;
  while (bytes_ + bytes > max_bytes_) Erase(std::prev(entries_.end()));
  entries_.push_front(std::move(entry));
  index_[key] = entries_.begin();
  bytes_ += bytes;
}

}  // namespace millrace::transformation
