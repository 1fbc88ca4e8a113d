#include "libs/base/ids.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <array>
#include <cstring>
#include <vector>

#include "libs/base/status.h"

namespace millrace {
namespace {

void FillFromSystem(void* out, size_t size) {
  auto* at = static_cast<unsigned char*>(out);
  while (size > 0) {
    const ssize_t got = getrandom(at, size, 0);
    if (got < 0) continue;  // EINTR
    at += got;
    size -= static_cast<size_t>(got);
  }
}

/// Random bytes for UUIDs, fetched from the kernel 4 KiB at a time per thread.
void FillBuffered(void* out, size_t size) {
  thread_local std::array<unsigned char, 4096> pool;
  thread_local size_t used = pool.size();
  MR_CHECK(size <= pool.size());
  if (used + size > pool.size()) {
    FillFromSystem(pool.data(), pool.size());
    used = 0;
  }
  std::memcpy(out, pool.data() + used, size);
  used += size;
}

std::string FormatUuid(const std::array<unsigned char, 16>& bytes) {
  constexpr char kHex[] = "0123456789abcdef";
  std::string text(36, '-');
  size_t at = 0;
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) ++at;
    text[at++] = kHex[bytes[i] >> 4];
    text[at++] = kHex[bytes[i] & 15];
  }
  return text;
}

}  // namespace

std::string NewUuid() {
  std::array<unsigned char, 16> bytes;
  FillBuffered(bytes.data(), bytes.size());
  bytes[6] = static_cast<unsigned char>((bytes[6] & 0x0f) | 0x40);
  bytes[8] = static_cast<unsigned char>((bytes[8] & 0x3f) | 0x80);
  return FormatUuid(bytes);
}

std::string NewUuidV7(int64_t unix_us) {
  std::array<unsigned char, 16> bytes;
  FillBuffered(bytes.data(), bytes.size());
  const auto ms = static_cast<uint64_t>(unix_us / 1000);
  for (size_t i = 0; i < 6; ++i) bytes[i] = static_cast<unsigned char>(ms >> (40 - 8 * i));
  bytes[6] = static_cast<unsigned char>((bytes[6] & 0x0f) | 0x70);
  bytes[8] = static_cast<unsigned char>((bytes[8] & 0x3f) | 0x80);
  return FormatUuid(bytes);
}

std::string NewId(std::string_view prefix) {
  constexpr std::string_view kAlphabet =
      "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  std::string id(prefix);
  while (id.size() < prefix.size() + 27) {
    unsigned char byte = 0;
    FillFromSystem(&byte, 1);
    if (byte < 248) id += kAlphabet[byte % 62];  // 248 = 4 * 62: no bias
  }
  return id;
}

std::string NewSecretHex(size_t bytes) {
  std::vector<unsigned char> raw(bytes);
  FillFromSystem(raw.data(), raw.size());
  std::string text;
  for (const unsigned char b : raw) text += fmt::format("{:02x}", b);
  return text;
}

}  // namespace millrace
