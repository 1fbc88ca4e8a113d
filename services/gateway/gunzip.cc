#include "services/gateway/gunzip.h"

#include <zlib.h>

#include <algorithm>

namespace millrace::gateway {
namespace {

// One inflater a thread: setting it up costs more than unpacking a small body.
class Inflater {
 public:
  Inflater() { ok_ = inflateInit2(&stream_, 15 + 16) == Z_OK; }
  ~Inflater() {
    if (ok_) inflateEnd(&stream_);
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  bool Reset() { return ok_ && inflateReset(&stream_) == Z_OK; }
  z_stream& stream() { return stream_; }

 private:
  z_stream stream_{};
  bool ok_ = false;
};

}  // namespace

StatusOr<std::string> Gunzip(std::string_view packed, size_t max_bytes) {
  thread_local Inflater inflater;
  if (!inflater.Reset()) return MakeStatus(StatusCode::kInternal, "zlib has no memory");
  z_stream& stream = inflater.stream();
  // zlib does not write to its input, but its interface is not const.
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
  stream.avail_in = static_cast<uInt>(packed.size());
  std::string text;
  size_t size = 0;
  text.resize(std::min(max_bytes + 1, std::max<size_t>(packed.size() * 6, 1024)));
  while (true) {
    if (size == text.size()) {
      if (size > max_bytes) {
        return MakeStatus(StatusCode::kResourceExhausted, "the unpacked body is too large");
      }
      text.resize(std::min(max_bytes + 1, text.size() * 2));
    }
    stream.next_out = reinterpret_cast<Bytef*>(text.data() + size);
    stream.avail_out = static_cast<uInt>(text.size() - size);
    const int result = inflate(&stream, Z_NO_FLUSH);
    size = text.size() - stream.avail_out;
    if (result == Z_STREAM_END) {
      if (stream.avail_in == 0) break;
      if (inflateReset(&stream) != Z_OK) return MakeStatus(StatusCode::kInternal, "zlib failed");
      continue;
    }
    const bool starved = stream.avail_in == 0 && stream.avail_out > 0;
    if ((result != Z_OK && result != Z_BUF_ERROR) || starved) {
      return MakeStatus(StatusCode::kInvalidArgument, "the body is no whole gzip");
    }
  }
  if (size > max_bytes) {
    return MakeStatus(StatusCode::kResourceExhausted, "the unpacked body is too large");
  }
  text.resize(size);
  return text;
}

}  // namespace millrace::gateway
