#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>

#include "libs/base/clock.h"

namespace millrace::transformation {

/// Answers kept for a time, the least used leave first. One thread.
class FetchCache {
 public:
  explicit FetchCache(size_t max_bytes) : max_bytes_(max_bytes) {}

  /// Null when absent or too old.
  std::shared_ptr<const std::string> Get(const std::string& key, MonotonicTime now);
  /// Nothing is kept of what is larger than the whole cache.
  void Put(const std::string& key, std::shared_ptr<const std::string> value, MonotonicTime expires);
  size_t bytes() const { return bytes_; }

 private:
  struct Entry {
    std::string key;
    std::shared_ptr<const std::string> value;
    MonotonicTime expires;
  };
  using Entries = std::list<Entry>;
  static size_t BytesOf(const Entry& entry);
  void Erase(Entries::iterator entry);

  const size_t max_bytes_;
  size_t bytes_ = 0;
  Entries entries_;  // the last used first
  std::unordered_map<std::string, Entries::iterator> index_;
};

}  // namespace millrace::transformation
