#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

/// Frames between the pool and its workers: u32 length, u8 type, payload; numbers in the machine's
/// order, as both ends are the same executable.
namespace millrace::script::wire {

enum class Type : uint8_t {
  kHello = 1,  // worker: ready
  kLoad,       // pool: a module
  kLoaded,     // worker
  kDrop,       // pool: a module that is not used any more
  kCall,       // pool: calls of one job
  kResults,    // worker: one call has ended
  kAsk,        // worker: a question to the job's host
  kAnswer,     // pool
  kInspect,    // pool: a source
  kInspected,  // worker
  kWaiting,    // worker: so many frames are dealt with; nothing to do until the next
};

constexpr size_t kHeaderBytes = 5;
constexpr size_t kMaxFrameBytes = 512 << 20;

template <typename T>
void Put(std::string* out, T value) {
  char bytes[sizeof(T)];
  std::memcpy(bytes, &value, sizeof(T));
  out->append(bytes, sizeof(T));
}

inline void PutText(std::string* out, std::string_view text) {
  Put<uint32_t>(out, static_cast<uint32_t>(text.size()));
  out->append(text);
}

/// Starts a frame at the end of `out`; EndFrame with what it returned sets the length.
inline size_t BeginFrame(std::string* out, Type type) {
  const size_t start = out->size();
  Put<uint32_t>(out, 0);
  Put<uint8_t>(out, static_cast<uint8_t>(type));
  return start;
}

inline void EndFrame(std::string* out, size_t start) {
  const auto length = static_cast<uint32_t>(out->size() - start - kHeaderBytes);
  std::memcpy(out->data() + start, &length, sizeof(length));
}

/// Reads a payload; after a read past its end ok() is false and every value is empty.
class Reader {
 public:
  explicit Reader(std::string_view data) : data_(data) {}

  template <typename T>
  T Get() {
    T value{};
    if (data_.size() < sizeof(T)) return Fail(), value;
    std::memcpy(&value, data_.data(), sizeof(T));
    data_.remove_prefix(sizeof(T));
    return value;
  }
  std::string_view GetText() {
    const auto size = Get<uint32_t>();
    if (data_.size() < size) return Fail(), std::string_view();
    const std::string_view text = data_.substr(0, size);
    data_.remove_prefix(size);
    return text;
  }
  bool ok() const { return ok_; }

 private:
  void Fail() {
    ok_ = false;
    data_ = {};
  }
  std::string_view data_;
  bool ok_ = true;
};

}  // namespace millrace::script::wire
