#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "libs/http/server.h"

/// A strict HTTP/1.1 request parser: it refuses whatever two parsers could read in two ways, so
/// that no proxy in front can be made to disagree with us (request smuggling).
namespace millrace::http {

/// Finds the end of a request head in bytes that come piece by piece, and refuses bare LF at once.
class HeadFinder {
 public:
  enum class State { kMore, kDone, kBad };
  /// `text` is all that has come of this request. After kDone `size()` is the head's length with
  /// its empty line.
  State Scan(std::string_view text);
  size_t size() const { return size_; }
  /// Length of the first line, 0 while it is not complete.
  size_t first_line() const { return first_line_; }

 private:
  size_t scanned_ = 0;
  size_t line_ = 0;  // where the current line starts
  size_t first_line_ = 0;
  size_t size_ = 0;
};

struct Head {
  Request request;  // without body and remote_ip
  uint64_t content_length = 0;
  bool chunked = false;
  bool expect_continue = false;
  bool keep_alive = true;
  bool http_1_0 = false;
};

/// Why a request is refused; status 0: it is not.
struct Refusal {
  int status = 0;
  std::string_view reason = {};
  explicit operator bool() const { return status != 0; }
};

/// Parses a head with its empty line.
Refusal ParseHead(std::string_view text, size_t max_target_bytes, Head* head);

/// Takes a chunked body apart. Trailers are read and dropped.
class ChunkDecoder {
 public:
  enum class State { kMore, kDone, kBad, kTooLarge };
  /// Appends data of `input` to `body`, which may not grow beyond `max_bytes`; `*used` bytes of the
  /// input were taken. Input that was not taken must be given again with more after it.
  State Decode(std::string_view input, size_t max_bytes, std::string* body, size_t* used);

 private:
  enum class Part { kSize, kData, kDataEnd, kTrailer };
  Part part_ = Part::kSize;
  uint64_t left_ = 0;
  size_t trailer_bytes_ = 0;
};

}  // namespace millrace::http
