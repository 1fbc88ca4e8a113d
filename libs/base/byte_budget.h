#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

namespace millrace {

/// How many bytes all that share it may still make. Any thread.
class ByteBudget {
 public:
  explicit ByteBudget(size_t bytes) : left_(static_cast<int64_t>(bytes)) {}
  ByteBudget(const ByteBudget&) = delete;
  ByteBudget& operator=(const ByteBudget&) = delete;

  /// False: there is no room for `bytes`, nor for anything after them.
  bool Take(size_t bytes) {
    const auto wanted = static_cast<int64_t>(bytes);
    return left_.fetch_sub(wanted, std::memory_order_relaxed) >= wanted;
  }
  /// Whether more was asked for than there was.
  bool overdrawn() const { return left_.load(std::memory_order_relaxed) < 0; }

 private:
  std::atomic<int64_t> left_;
};

}  // namespace millrace
