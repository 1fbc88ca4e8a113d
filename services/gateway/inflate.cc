#include "services/gateway/inflate.h"

#include <zlib.h>

#include <algorithm>

#include "absl/cleanup/cleanup.h"

namespace millrace::gateway {

StatusOr<std::string> Inflate(std::string_view gzip, size_t limit) {
  z_stream stream{};
  constexpr int kGzipOnly = 15 + 16;
  if (inflateInit2(&stream, kGzipOnly) != Z_OK) {
    return Error(StatusCode::kInternal, "zlib cannot start");
  }
  absl::Cleanup end = [&stream] { inflateEnd(&stream); };
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(gzip.data()));
  stream.avail_in = static_cast<uInt>(gzip.size());
  std::string out;
  while (true) {
    const size_t before = out.size();
    if (before > limit) return Error(StatusCode::kResourceExhausted, "request size exceeds max limit");
    out.resize(std::min(limit + 1, std::max<size_t>(before * 2, gzip.size() * 4 + 1024)));
    stream.next_out = reinterpret_cast<Bytef*>(out.data() + before);
    stream.avail_out = static_cast<uInt>(out.size() - before);
    const int code = inflate(&stream, Z_NO_FLUSH);
    out.resize(out.size() - stream.avail_out);
    if (code == Z_STREAM_END) {
      if (out.size() > limit) {
        return Error(StatusCode::kResourceExhausted, "request size exceeds max limit");
      }
      return out;
    }
    if (code != Z_OK || (stream.avail_in == 0 && stream.avail_out > 0)) {
      return Error(StatusCode::kInvalidArgument, "the gzip body is broken or cut short");
    }
  }
}

}  // namespace millrace::gateway
