#include "services/gateway/sequenced_appender.h"

#include <cstring>
#include <utility>

#include "libs/base/hash.h"
#include "millrace/event/v1/event.pb.h"

namespace millrace::gateway {
namespace {

using event::v1::EventMeta;
using event_log::TopicRecord;

// A field number below 2,048 and its varint.
constexpr size_t kVarintFieldBytes = 2 + 10;
constexpr size_t kStampBytes = 3 * kVarintFieldBytes;

char* PutVarint(uint64_t value, char* out) {
  while (value >= 0x80) {
    *out++ = static_cast<char>(value | 0x80);
    value >>= 7;
  }
  *out++ = static_cast<char>(value);
  return out;
}

char* PutField(int number, uint64_t value, char* out) {
  return PutVarint(value, PutVarint(static_cast<uint64_t>(number) << 3, out));
}

}  // namespace

SequencedAppender::SequencedAppender(std::unique_ptr<event_log::Appender> log,
                                     const Options& options)
    : whole_appends_(options.whole_appends),
      partitions_(static_cast<size_t>(options.partitions)),
      log_(std::move(log)) {
  EventMeta origin;
  origin.set_gateway(options.gateway);
  origin.set_gateway_started_at_us(options.started_at_us);
  origin_ = origin.SerializeAsString();
}

// Of a Protobuf message more fields may follow its bytes, so that metadata need not be parsed.
size_t SequencedAppender::Stamp(Partition& partition, char* out) const {
  char* at = out;
  std::memcpy(at, origin_.data(), origin_.size());
  at += origin_.size();
  at = PutField(EventMeta::kGatewaySequenceFieldNumber, ++partition.last, at);
  const uint64_t refused = partition.refused.load(std::memory_order_relaxed);
  const uint64_t unknown = partition.unknown.load(std::memory_order_relaxed);
  if (refused > 0) at = PutField(EventMeta::kGatewayRefusedFieldNumber, refused, at);
  if (unknown > 0) at = PutField(EventMeta::kGatewayUnknownFieldNumber, unknown, at);
  return static_cast<size_t>(at - out);
}

void SequencedAppender::Append(std::span<const TopicRecord> records, event_log::Done done) {
  std::vector<TopicRecord> numbered(records.begin(), records.end());
  std::vector<int32_t> partitions;
  partitions.reserve(records.size());
  size_t bytes = 0;
  for (TopicRecord& one : numbered) {
    if (one.record.partition < 0) {
      one.record.partition = static_cast<int32_t>(Murmur2(one.record.key) % partitions_.size());
    }
    partitions.push_back(one.record.partition);
    bytes += one.record.meta.size() + origin_.size() + kStampBytes;
  }
  const std::unique_ptr<char[]> metas(new char[bytes]);
  char* at = metas.get();
  MutexLock lock(mu_);
  for (TopicRecord& one : numbered) {
    char* const begin = at;
    std::memcpy(at, one.record.meta.data(), one.record.meta.size());
    at += one.record.meta.size();
    at += Stamp(partitions_[static_cast<size_t>(one.record.partition)], at);
    one.record.meta = std::string_view(begin, static_cast<size_t>(at - begin));
  }
  log_->Append(numbered,
               [this, partitions = std::move(partitions), done = std::move(done)](Status status) {
                 if (!status.ok()) Failed(partitions, status.code());
                 done(std::move(status));
               });
}

void SequencedAppender::Failed(const std::vector<int32_t>& partitions, StatusCode code) {
  const bool sure =
      whole_appends_ && (code == StatusCode::kResourceExhausted ||
                         code == StatusCode::kInvalidArgument || code == StatusCode::kNotFound);
  for (const int32_t index : partitions) {
    Partition& partition = partitions_[static_cast<size_t>(index)];
    (sure ? partition.refused : partition.unknown).fetch_add(1, std::memory_order_relaxed);
  }
}

}  // namespace millrace::gateway
