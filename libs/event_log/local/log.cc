#include "libs/event_log/local/log.h"

#include <unistd.h>

#include <algorithm>

#include "libs/base/hash.h"
#include "libs/event_log/local/consumer.h"
#include "libs/event_log/local/transaction.h"

namespace millrace::event_log::local {
namespace {

constexpr size_t kFrameBytes = 4 << 20;    // a batch beyond this is closed
constexpr size_t kBlockBytes = 256 << 10;  // what one read of a consumer takes
constexpr size_t kLargestRecord = 32 << 20;

class LocalAppender final : public Appender {
 public:
  explicit LocalAppender(LocalLog& log) : log_(log) {}
  ~LocalAppender() override { log_.AwaitOutstanding(state_); }
  void Append(std::span<const TopicRecord> records, Done done) override {
    log_.Append(records, std::move(done), state_);
  }

 private:
  LocalLog& log_;
  AppenderState state_;
};

size_t BytesOf(const Record& record) {
  return format::kRecordHeaderBytes + record.key.size() + record.meta.size() + record.value.size();
}

int32_t PartitionOf(const Topic& topic, const Record& record, uint32_t keyless) {
  const auto partitions = static_cast<uint32_t>(topic.partitions.size());
  if (record.partition >= 0) return record.partition;
  const uint32_t hash = record.key.empty() ? keyless : Murmur2(record.key);
  return static_cast<int32_t>(hash % partitions);
}

}  // namespace

void LocalLog::Reassign(Group& group) {
  groups_.Reassign(group, [this](const std::string& name) { return FindTopic(name); });
}

LocalLog::LocalLog(const LocalLogOptions& options)
    : options_(options),
      quota_({options.quota_bytes, options.segment_bytes, options.reserve_bytes.value_or(0)}) {}

LocalLog::~LocalLog() {
  if (writer_.joinable()) {
    {
      MutexLock lock(mu_);
      stop_ = true;
      work_.notify_all();
    }
    writer_.join();
  }
  for (const auto& [id, segment] : segments_) ::close(segment->fd);
  for (const auto& segment : free_) ::close(segment->fd);
  if (lock_fd_ >= 0) ::close(lock_fd_);
}

Status LocalLog::Start() {
  MR_RETURN_IF_ERROR(TakeFolder());
  MR_RETURN_IF_ERROR(Recover());
  writer_ = std::thread([this] { Run(); });
  return OkStatus();
}

std::shared_ptr<Topic> LocalLog::FindTopic(std::string_view name) const {
  const auto found = topics_.find(name);
  return found == topics_.end() ? nullptr : found->second;
}

Segment* LocalLog::FindSegment(uint32_t id) {
  const auto found = segments_.find(id);
  return found == segments_.end() ? nullptr : found->second.get();
}

std::deque<IndexEntry>::const_iterator LocalLog::FindEntry(const Partition& partition,
                                                           int64_t offset) {
  return std::ranges::upper_bound(partition.index, offset, {},
                                  [](const IndexEntry& entry) { return entry.end(); });
}

Status LocalLog::Refusal(std::span<const TopicRecord> records, size_t* bytes) const {
  const Topic* topic = nullptr;
  for (const TopicRecord& r : records) {
    if (topic == nullptr || topic->name != r.topic) topic = FindTopic(r.topic).get();
    if (topic == nullptr) return NoSuchTopic(r.topic);
    if (r.record.partition >= static_cast<int32_t>(topic->partitions.size())) {
      return Error(StatusCode::kInvalidArgument, "topic '{}' has no partition {}", r.topic,
                   r.record.partition);
    }
    const size_t size = BytesOf(r.record);
    if (size > std::min<size_t>(kLargestRecord, options_.max_in_flight_bytes)) {
      return Error(StatusCode::kInvalidArgument,
                   "a record of {} bytes is larger than the log takes", size);
    }
    *bytes += size;
  }
  return OkStatus();
}

Status LocalLog::TooLarge(size_t bytes, StatusCode code) const {
  return Error(code, "{} bytes at once are more than the log takes, which is {}", bytes,
               options_.max_transaction_bytes);
}

bool LocalLog::Closes(const Topic& topic) const {
  return std::ranges::find(options_.closing_topics, topic.name) != options_.closing_topics.end();
}

Batch& LocalLog::OpenBatch(size_t bytes, Room room) {
  if (queue_.empty() || queue_.back().bytes > kFrameBytes) {
    queue_.emplace_back().id = next_batch_++;
  }
  Batch& batch = queue_.back();
  batch.bytes += bytes;
  if (bytes > 0) batch.room = std::max(batch.room, room);
  in_flight_ += bytes;
  return batch;
}

void LocalLog::Enqueue() {
  if (writer_waits_) {
    writer_waits_ = false;  // one wake-up, however many come before the writer runs
    work_.notify_one();
  }
}

void LocalLog::Stage(std::span<const TopicRecord> records) {
  Batch& batch = queue_.back();
  std::shared_ptr<Topic> topic;
  uint32_t keyless = 0;
  for (const TopicRecord& r : records) {
    if (topic == nullptr || topic->name != r.topic) {
      topic = FindTopic(r.topic);
      keyless = topic->next_keyless++;
    }
    const int32_t number = PartitionOf(*topic, r.record, keyless);
    Partition& partition = topic->partitions[static_cast<size_t>(number)];
    if (partition.staged_batch != batch.id ||
        batch.blocks[partition.staged_block].records.size() >= kBlockBytes) {
      partition.staged_batch = batch.id;
      partition.staged_block = batch.blocks.size();
      std::string buffer;
      if (!spare_buffers_.empty()) {
        buffer = std::move(spare_buffers_.back());
        spare_buffers_.pop_back();
      }
      batch.blocks.push_back({topic, number, 0, std::move(buffer)});
    }
    StagedBlock& block = batch.blocks[partition.staged_block];
    ++block.count;
    format::PutRecord(block.records, r.record.key, r.record.meta, r.record.value);
  }
}

void LocalLog::Append(std::span<const TopicRecord> records, Done done, AppenderState& appender) {
  MutexLock lock(mu_);
  ++appender.outstanding;
  Waiter waiter{std::move(done), &appender, true};
  size_t bytes = 0;
  Status status = Refusal(records, &bytes);
  const bool closes =
      status.ok() && std::ranges::all_of(records, [this](const TopicRecord& record) {
        return Closes(*FindTopic(record.topic));
      });
  const Room room = closes ? Room::kClosing : Room::kNew;
  if (status.ok() && bytes > options_.max_transaction_bytes) {
    status = TooLarge(bytes, StatusCode::kInvalidArgument);
  }
  if (status.ok() && quota_.Full(room)) status = quota_.Refusal();
  if (status.ok() && in_flight_ > 0 && in_flight_ + bytes > options_.max_in_flight_bytes) {
    status = Error(StatusCode::kResourceExhausted, "{} bytes wait to be written", in_flight_);
  }
  if (status.ok()) {
    Batch& batch = OpenBatch(bytes, room);
    Stage(records);
    batch.waiters.push_back(std::move(waiter));
  } else {
    refused_.emplace_back(std::move(waiter), std::move(status));
  }
  Enqueue();
}

void LocalLog::AwaitOutstanding(AppenderState& appender) {
  MutexLock lock(mu_);
  drained_.wait(lock.native(), [&] { return appender.outstanding == 0; });
}

Status LocalLog::Encode(std::span<const TopicRecord> records, std::vector<StagedBlock>& blocks,
                        size_t& staged_bytes) {
  MutexLock lock(mu_);
  size_t bytes = staged_bytes;
  MR_RETURN_IF_ERROR(Refusal(records, &bytes));
  if (bytes > options_.max_transaction_bytes) {
    return TooLarge(bytes, StatusCode::kResourceExhausted);
  }
  staged_bytes = bytes;
  std::shared_ptr<Topic> topic;
  uint32_t keyless = 0;
  for (const TopicRecord& r : records) {
    if (topic == nullptr || topic->name != r.topic) {
      topic = FindTopic(r.topic);
      keyless = topic->next_keyless++;
    }
    const int32_t number = PartitionOf(*topic, r.record, keyless);
    auto block = std::find_if(blocks.rbegin(), blocks.rend(), [&](const StagedBlock& b) {
      return b.topic == topic && b.partition == number;
    });
    if (block == blocks.rend() || block->records.size() >= kBlockBytes) {
      blocks.push_back({topic, number, 0, {}});
      block = blocks.rbegin();
    }
    ++block->count;
    format::PutRecord(block->records, r.record.key, r.record.meta, r.record.value);
  }
  return OkStatus();
}

Status LocalLog::Await(MutexLock& lock, bool with_records) {
  Status result;
  bool answered = false;
  queue_.back().waiters.push_back({[&](Status status) {
                                     MutexLock answer(mu_);
                                     result = std::move(status);
                                     answered = true;
                                     drained_.notify_all();
                                   },
                                   nullptr, with_records});
  Enqueue();
  drained_.wait(lock.native(), [&answered] { return answered; });
  return result;
}

bool LocalLog::Fenced(const std::string& id, uint64_t generation) {
  MutexLock lock(mu_);
  return producers_[id] != generation;
}

Status LocalLog::CommitTransaction(const std::string& id, uint64_t generation,
                                   std::vector<StagedBlock> blocks,
                                   std::vector<OffsetChange> offsets, LocalConsumer* consumer) {
  MutexLock lock(mu_);
  if (producers_[id] != generation) {
    return Error(StatusCode::kFailedPrecondition, "a newer owner of '{}' fenced this one", id);
  }
  if (consumer != nullptr) MR_RETURN_IF_ERROR(consumer->CheckOwned(offsets));
  size_t bytes = 0;
  for (const StagedBlock& block : blocks) bytes += block.records.size();
  const bool closes = std::ranges::all_of(
      blocks, [this](const StagedBlock& block) { return Closes(*block.topic); });
  const Room room = closes ? Room::kClosing : Room::kOnward;
  // Of a log that is full a smaller one may have room in what is kept for it. Otherwise what did
  // not happen is read again, whatever the reason.
  const bool large = bytes > options_.segment_bytes / 4;
  const auto again = [large](const Status& status) {
    if (!IsRetryable(status)) return status;
    const bool smaller = large && status.code() == StatusCode::kResourceExhausted;
    return MakeStatus(smaller ? StatusCode::kResourceExhausted : StatusCode::kUnavailable,
                      Message(status));
  };
  if (bytes > 0 && quota_.Full(room)) return again(quota_.Refusal());
  if (in_flight_ > 0 && in_flight_ + bytes > options_.max_in_flight_bytes) {
    return Error(StatusCode::kUnavailable, "{} bytes wait to be written", in_flight_);
  }
  Batch& batch = OpenBatch(bytes, room);
  const bool with_records = bytes > 0;
  for (StagedBlock& block : blocks) batch.blocks.push_back(std::move(block));
  for (OffsetChange& offset : offsets) {
    offset.with_records = with_records;
    batch.offsets.push_back(std::move(offset));
  }
  return again(Await(lock, with_records));
}

Status LocalLog::CommitOffsets(LocalConsumer& consumer, std::vector<OffsetChange> offsets) {
  MutexLock lock(mu_);
  MR_RETURN_IF_ERROR(consumer.CheckOwned(offsets));
  Batch& batch = OpenBatch(0);
  for (OffsetChange& offset : offsets) batch.offsets.push_back(std::move(offset));
  return Await(lock, false);
}

StatusOr<std::unique_ptr<Appender>> LocalLog::NewAppender() {
  return std::make_unique<LocalAppender>(*this);
}

StatusOr<std::unique_ptr<Consumer>> LocalLog::NewConsumer(const ConsumerOptions& options) {
  return std::make_unique<LocalConsumer>(*this, options);
}

StatusOr<std::unique_ptr<Transaction>> LocalLog::NewTransaction(const std::string& id) {
  MutexLock lock(mu_);
  return std::make_unique<LocalTransaction>(*this, id, ++producers_[id]);
}

}  // namespace millrace::event_log::local
