#include "libs/event_log/offset_tracker.h"

#include <algorithm>

#include "libs/base/hash.h"
#include "libs/base/status.h"

namespace millrace::event_log {
namespace {

// Metadata: a letter for the form, then base64. "r": run lengths as varints, in turn unfinished and
// finished, from the committed offset on. "b": one bit an offset, set when finished.
constexpr size_t kMaxRawBytes = (OffsetTracker::kMaxMetadataBytes - 1) / 4 * 3;
// So many offsets always fit as a bitmap, however they are mixed.
constexpr int64_t kSafeSpan = static_cast<int64_t>(kMaxRawBytes - 200) * 8;

void PutVarint(uint64_t value, std::string* out) {
  while (value >= 0x80) {
    out->push_back(static_cast<char>(value | 0x80));
    value >>= 7;
  }
  out->push_back(static_cast<char>(value));
}

bool TakeVarint(std::string_view* text, uint64_t* value) {
  *value = 0;
  for (int shift = 0; shift < 63; shift += 7) {
    if (text->empty()) return false;
    const auto byte = static_cast<uint8_t>(text->front());
    text->remove_prefix(1);
    *value |= static_cast<uint64_t>(byte & 0x7f) << shift;
    if ((byte & 0x80) == 0) return true;
  }
  return false;
}

}  // namespace

OffsetTracker::OffsetTracker(int64_t committed, std::string_view metadata) : next_(committed) {
  std::string raw;
  metadata = metadata.substr(0, metadata.find(';'));
  if (committed < 0 || metadata.empty() || !DecodeBase64(metadata.substr(1), &raw)) return;
  if (metadata.front() == 'r') {
    std::string_view rest = raw;
    int64_t at = committed;
    uint64_t run = 0;
    for (bool finished = false; TakeVarint(&rest, &run); finished = !finished) {
      if (run > (uint64_t{1} << 48)) return;
      const int64_t to = at + static_cast<int64_t>(run);
      if (finished) restored_.emplace_back(at, to);
      at = to;
    }
  } else if (metadata.front() == 'b') {
    for (size_t i = 0; i < raw.size() * 8; ++i) {
      if ((static_cast<uint8_t>(raw[i / 8]) >> (i % 8) & 1) == 0) continue;
      const int64_t offset = committed + static_cast<int64_t>(i);
      if (!restored_.empty() && restored_.back().second == offset) {
        ++restored_.back().second;
      } else {
        restored_.emplace_back(offset, offset + 1);
      }
    }
  }
}

uint64_t OffsetTracker::Add(int64_t offset, bool* done) {
  *done = WasFinished(offset);
  if (!unfinished_.empty() && unfinished_.rbegin()->second == next_) {
    unfinished_.rbegin()->second = offset;
  }
  next_ = offset + 1;
  if (*done) {
    changed_ = true;
  } else {
    unfinished_.emplace_hint(unfinished_.end(), offset, next_);
  }
  return static_cast<uint64_t>(offset);
}

bool OffsetTracker::WasFinished(int64_t offset) const {
  const auto after = std::ranges::upper_bound(restored_, offset, {},
                                              [](const auto& range) { return range.first; });
  return after != restored_.begin() && offset < std::prev(after)->second;
}

void OffsetTracker::Finish(uint64_t ticket) {
  MR_CHECK(unfinished_.erase(static_cast<int64_t>(ticket)) == 1);
  changed_ = true;
}

int64_t OffsetTracker::committed() const {
  return unfinished_.empty() ? next_ : unfinished_.begin()->first;
}

std::vector<std::pair<int64_t, int64_t>> OffsetTracker::Finished() const {
  std::vector<std::pair<int64_t, int64_t>> finished;
  const auto add = [&](int64_t from, int64_t to) {
    if (from >= to) return;
    if (!finished.empty() && finished.back().second == from) {
      finished.back().second = to;
    } else {
      finished.emplace_back(from, to);
    }
  };
  int64_t end = committed();  // of the unfinished run
  for (const auto& [offset, until] : unfinished_) {
    add(end, offset);
    end = until;
  }
  add(end, next_);
  // What was not read again since the restart.
  for (const auto& [from, to] : restored_) add(std::max(from, next_), to);
  return finished;
}

std::string OffsetTracker::Encode() const {
  const auto finished = Finished();
  if (finished.empty()) return "";
  const int64_t base = committed();
  const int64_t span = finished.back().second - base;
  std::string runs;
  int64_t at = base;
  for (const auto& [from, to] : finished) {
    std::string pair;
    PutVarint(static_cast<uint64_t>(from - at), &pair);
    PutVarint(static_cast<uint64_t>(to - from), &pair);
    if (runs.size() + pair.size() > kMaxRawBytes) break;
    runs += pair;
    at = to;
  }
  const bool whole = at == finished.back().second;
  if ((whole && runs.size() * 8 <= static_cast<size_t>(span)) || span > kSafeSpan + 1600) {
    return "r" + EncodeBase64(runs);
  }
  std::string bits(static_cast<size_t>((span + 7) / 8), '\0');
  for (const auto& [from, to] : finished) {
    for (int64_t offset = from; offset < to; ++offset) {
      const auto i = static_cast<size_t>(offset - base);
      bits[i / 8] = static_cast<char>(static_cast<uint8_t>(bits[i / 8]) | (1u << (i % 8)));
    }
  }
  return "b" + EncodeBase64(bits);
}

std::string OffsetTracker::Metadata() const {
  return Encode();
}

bool OffsetTracker::RoomForMore() const {
  if (next_ - committed() < kSafeSpan) return true;
  return Encode().size() < kMaxMetadataBytes / 2;
}

int64_t OffsetTracker::FinishedBeyond() const {
  int64_t sum = 0;
  for (const auto& [from, to] : restored_) sum += to - from;
  return sum;
}

}  // namespace millrace::event_log
