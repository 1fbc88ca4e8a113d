#include "libs/event_log/local/format.h"

#include <bit>
#include <cstring>

#include "libs/base/hash.h"

namespace millrace::event_log::format {
namespace {

static_assert(std::endian::native == std::endian::little, "the journal is little-endian");

template <typename T>
T Load(const char* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

void PutText(std::string& to, std::string_view text) {
  PutU32(to, static_cast<uint32_t>(text.size()));
  to.append(text);
}

}  // namespace

void PutU32(std::string& to, uint32_t value) {
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  to.append(bytes, sizeof value);
}

void PutU64(std::string& to, uint64_t value) {
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  to.append(bytes, sizeof value);
}

void PutOp(std::string& frame, const Op& op) {
  frame.push_back(static_cast<char>(op.kind));
  switch (op.kind) {
    case OpKind::kBlock:
    case OpKind::kRelocatedBlock:
      PutU32(frame, op.topic_id);
      PutU32(frame, static_cast<uint32_t>(op.partition));
      PutU64(frame, static_cast<uint64_t>(op.offset));
      PutU64(frame, static_cast<uint64_t>(op.timestamp_us));
      PutU32(frame, op.count);
      PutU32(frame, op.crc);
      PutText(frame, op.text);
      return;
    case OpKind::kTopic:
      PutU32(frame, op.topic_id);
      PutU32(frame, static_cast<uint32_t>(op.partition));
      PutU64(frame, static_cast<uint64_t>(op.timestamp_us));
      PutText(frame, op.name);
      return;
    case OpKind::kTopicDeleted:
      PutU32(frame, op.topic_id);
      return;
    case OpKind::kOffset:
      PutU32(frame, op.topic_id);
      PutU32(frame, static_cast<uint32_t>(op.partition));
      PutU64(frame, static_cast<uint64_t>(op.offset));
      PutText(frame, op.name);
      PutText(frame, op.text);
      return;
    case OpKind::kCheckpoint:
      PutU32(frame, op.count);
      return;
    case OpKind::kBounds:
      PutU32(frame, op.topic_id);
      PutU32(frame, static_cast<uint32_t>(op.partition));
      PutU64(frame, static_cast<uint64_t>(op.offset));
      PutU64(frame, static_cast<uint64_t>(op.end));
      return;
  }
}

void PutRecord(std::string& block, std::string_view key, std::string_view meta,
               std::string_view value) {
  const uint32_t lengths[3] = {static_cast<uint32_t>(key.size()),
                               static_cast<uint32_t>(meta.size()),
                               static_cast<uint32_t>(value.size())};
  char header[kRecordHeaderBytes];
  std::memcpy(header, lengths, sizeof header);
  block.append(header, sizeof header).append(key).append(meta).append(value);
}

void FinishFrame(std::string& frame, uint64_t epoch, uint64_t sequence) {
  const auto length = static_cast<uint32_t>(frame.size() - kFrameHeaderBytes);
  char* const data = frame.data();
  std::memcpy(data + 4, &length, 4);
  std::memcpy(data + 8, &epoch, 8);
  std::memcpy(data + 16, &sequence, 8);
  const uint32_t crc = Crc32c(std::string_view(frame).substr(4));
  std::memcpy(data, &crc, 4);
}

bool ReadFrameHeader(std::string_view data, Frame* frame) {
  if (data.size() < kFrameHeaderBytes) return false;
  frame->epoch = Load<uint64_t>(data.data() + 8);
  frame->sequence = Load<uint64_t>(data.data() + 16);
  return true;
}

bool ReadFrame(std::string_view data, Frame* frame) {
  if (!ReadFrameHeader(data, frame)) return false;
  const size_t length = Load<uint32_t>(data.data() + 4);
  if (length == 0 || length > data.size() - kFrameHeaderBytes) return false;
  frame->payload = data.substr(kFrameHeaderBytes, length);
  return Crc32c(data.substr(4, kFrameHeaderBytes - 4 + length)) == Load<uint32_t>(data.data());
}

bool OpReader::U32(uint32_t* value) {
  if (data_.size() - at_ < sizeof *value) return false;
  *value = Load<uint32_t>(data_.data() + at_);
  at_ += sizeof *value;
  return true;
}

bool OpReader::U64(uint64_t* value) {
  if (data_.size() - at_ < sizeof *value) return false;
  *value = Load<uint64_t>(data_.data() + at_);
  at_ += sizeof *value;
  return true;
}

bool OpReader::I64(int64_t* value) {
  uint64_t bits = 0;
  if (!U64(&bits)) return false;
  *value = static_cast<int64_t>(bits);
  return true;
}

bool OpReader::Text(std::string_view* text) {
  uint32_t size = 0;
  if (!U32(&size) || data_.size() - at_ < size) return false;
  *text = data_.substr(at_, size);
  at_ += size;
  return true;
}

bool OpReader::Body(Op* op) {
  uint32_t partition = 0;
  switch (op->kind) {
    case OpKind::kBlock:
    case OpKind::kRelocatedBlock:
      if (!(U32(&op->topic_id) && U32(&partition) && I64(&op->offset) && I64(&op->timestamp_us) &&
            U32(&op->count) && U32(&op->crc) && Text(&op->text))) {
        return false;
      }
      break;
    case OpKind::kTopic:
      if (!(U32(&op->topic_id) && U32(&partition) && I64(&op->timestamp_us) && Text(&op->name))) {
        return false;
      }
      break;
    case OpKind::kTopicDeleted:
      return U32(&op->topic_id);
    case OpKind::kOffset:
      if (!(U32(&op->topic_id) && U32(&partition) && I64(&op->offset) && Text(&op->name) &&
            Text(&op->text))) {
        return false;
      }
      break;
    case OpKind::kCheckpoint:
      return U32(&op->count);
    case OpKind::kBounds:
      if (!(U32(&op->topic_id) && U32(&partition) && I64(&op->offset) && I64(&op->end))) {
        return false;
      }
      break;
    default:
      return false;
  }
  op->partition = static_cast<int32_t>(partition);
  return true;
}

bool OpReader::Next(Op* op) {
  if (at_ == data_.size()) return false;
  *op = Op{};
  op->position = at_;
  op->kind = static_cast<OpKind>(data_[at_++]);
  if (!Body(op)) {
    ok_ = false;
    return false;
  }
  op->bytes = at_ - op->position;
  return true;
}

bool TakeRecord(std::string_view* records, std::string_view* key, std::string_view* meta,
                std::string_view* value) {
  if (records->size() < kRecordHeaderBytes) return false;
  const size_t key_bytes = Load<uint32_t>(records->data());
  const size_t meta_bytes = Load<uint32_t>(records->data() + 4);
  const size_t value_bytes = Load<uint32_t>(records->data() + 8);
  const std::string_view rest = records->substr(kRecordHeaderBytes);
  if (rest.size() < key_bytes + meta_bytes + value_bytes) return false;
  *key = rest.substr(0, key_bytes);
  *meta = rest.substr(key_bytes, meta_bytes);
  *value = rest.substr(key_bytes + meta_bytes, value_bytes);
  *records = rest.substr(key_bytes + meta_bytes + value_bytes);
  return true;
}

}  // namespace millrace::event_log::format
