#pragma once

#include <cstdint>
#include <string>
#include <string_view>

/// The bytes of the journal; docs/local-log.md describes them. Numbers are little-endian.
namespace millrace::event_log::format {

inline constexpr size_t kFrameHeaderBytes = 24;  // crc, length of the payload, epoch, sequence
inline constexpr size_t kBlockHeaderBytes = 37;
inline constexpr size_t kRecordHeaderBytes = 12;  // lengths of key, meta and value

enum class OpKind : uint8_t {
  kBlock = 1,
  kRelocatedBlock = 2,
  kTopic = 3,
  kTopicDeleted = 4,
  kOffset = 5,
  kCheckpoint = 6,  // forgets topics and offsets; what follows in the frame is all there is
  kBounds = 7,
};

/// One thing that a frame says; only the fields of its kind are set. Views point into the frame.
struct Op {
  OpKind kind = OpKind::kBlock;
  uint32_t topic_id = 0;
  int32_t partition = 0;     // kTopic: how many
  int64_t offset = 0;        // blocks: of the first record; kBounds: the oldest
  int64_t end = 0;           // kBounds
  int64_t timestamp_us = 0;  // blocks; kTopic: retention in milliseconds
  uint32_t count = 0;        // blocks; kCheckpoint: the next topic id
  uint32_t crc = 0;          // blocks: of the records
  std::string_view name;     // kTopic: name; kOffset: group
  std::string_view text;     // blocks: records; kOffset: metadata
  size_t position = 0;       // blocks: of the op within the frame's payload
  size_t bytes = 0;          // blocks: of the op
};

void PutU32(std::string& to, uint32_t value);
void PutU64(std::string& to, uint64_t value);
void PutOp(std::string& frame, const Op& op);
void PutRecord(std::string& block, std::string_view key, std::string_view meta,
               std::string_view value);

/// Makes `frame`, which starts with kFrameHeaderBytes of room, whole.
void FinishFrame(std::string& frame, uint64_t epoch, uint64_t sequence);

struct Frame {
  uint64_t epoch = 0;
  uint64_t sequence = 0;
  std::string_view payload;
};
/// The frame at the start of `data`; false when there is no whole one.
bool ReadFrame(std::string_view data, Frame* frame);
/// Epoch and sequence of what may be a damaged frame.
bool ReadFrameHeader(std::string_view data, Frame* frame);

/// Takes ops off a payload. Next is false at the end and at malformed bytes; then ok() tells which.
class OpReader {
 public:
  explicit OpReader(std::string_view payload) : data_(payload) {}
  bool Next(Op* op);
  bool ok() const { return ok_; }

 private:
  bool U32(uint32_t* value);
  bool U64(uint64_t* value);
  bool I64(int64_t* value);
  bool Text(std::string_view* text);
  bool Body(Op* op);

  std::string_view data_;
  size_t at_ = 0;
  bool ok_ = true;
};

/// Takes a record off the front of `records`; false when there is no whole one.
bool TakeRecord(std::string_view* records, std::string_view* key, std::string_view* meta,
                std::string_view* value);

}  // namespace millrace::event_log::format
