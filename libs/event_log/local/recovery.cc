#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <limits>

#include "libs/base/file.h"
#include "libs/base/ids.h"
#include "libs/base/log.h"
#include "libs/event_log/local/log.h"

namespace millrace::event_log::local {
namespace {

constexpr int kVersion = 1;
constexpr std::string_view kVersionName = "millrace local log ";

/// The number in front of `extension`; 0 when the file is none of ours.
uint32_t SegmentId(const std::filesystem::path& path) {
  const std::string name = path.stem().string();
  uint32_t id = 0;
  const auto end = std::from_chars(name.data(), name.data() + name.size(), id);
  const bool ours = path.extension() == ".journal" || path.extension() == ".damaged";
  return ours && end.ptr == name.data() + name.size() ? id : 0;
}

StatusOr<std::string> ReadWhole(const Segment& segment, uint64_t bytes) {
  std::string data(bytes, '\0');
  MR_ASSIGN_OR_RETURN(const size_t read, ReadAt(segment.fd, data.data(), bytes, 0));
  data.resize(read);
  return data;
}

}  // namespace

Status LocalLog::TakeFolder() {
  MR_RETURN_IF_ERROR(MakeFolders(options_.path));
  const std::string lock_path = options_.path + "/LOCK";
  lock_fd_ = ::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock_fd_ < 0) return Error(StatusCode::kUnavailable, "cannot open {}", lock_path);
  if (::flock(lock_fd_, LOCK_EX | LOCK_NB) != 0) {
    return Error(
        StatusCode::kFailedPrecondition,
        "the event log in {} is in use by another process; stop that one, or use another data "
        "folder",
        options_.path);
  }
  MR_RETURN_IF_ERROR(TakeVersion());
  return TakeId();
}

/// Logs from before there were names get theirs now.
Status LocalLog::TakeId() {
  const std::string path = options_.path + "/ID";
  const StatusOr<std::string> id = ReadFile(path);
  if (id.status().code() == StatusCode::kNotFound) {
    id_ = NewUuid();
    return WriteFileAtomically(path, id_ + "\n", 0600);
  }
  MR_RETURN_IF_ERROR(id.status());
  id_ = id->substr(0, id->find('\n'));
  return OkStatus();
}

Status LocalLog::TakeVersion() {
  const std::string version_path = options_.path + "/VERSION";
  const StatusOr<std::string> version = ReadFile(version_path);
  if (version.status().code() == StatusCode::kNotFound) {
    return WriteFileAtomically(version_path, fmt::format("{}{}\n", kVersionName, kVersion), 0600);
  }
  MR_RETURN_IF_ERROR(version.status());
  int number = 0;
  if (!version->starts_with(kVersionName) ||
      std::from_chars(version->data() + kVersionName.size(), version->data() + version->size(),
                      number)
              .ec != std::errc()) {
    return Error(StatusCode::kFailedPrecondition, "{} does not name a local log", version_path);
  }
  if (number > kVersion) {
    return Error(
        StatusCode::kFailedPrecondition,
        "the event log in {} has format {}, this program knows up to {}; run a newer version",
        options_.path, number, kVersion);
  }
  return OkStatus();
}

Status LocalLog::LoadSegment(uint32_t id, std::vector<std::unique_ptr<Segment>>& found) {
  auto segment = std::make_unique<Segment>();
  segment->id = id;
  segment->path = SegmentPath(id);
  MR_ASSIGN_OR_RETURN(segment->fd, options_.io->Open(segment->path));
  struct stat info {};
  if (::fstat(segment->fd, &info) != 0) {
    ::close(segment->fd);
    return Error(StatusCode::kUnavailable, "cannot read {}", segment->path);
  }
  segment->allocated = static_cast<uint64_t>(info.st_size);
  StatusOr<std::string> data = ReadWhole(*segment, segment->allocated);
  if (!data.ok()) {
    ::close(segment->fd);
    return data.status();
  }
  format::Frame frame;
  if (format::ReadFrame(*data, &frame)) {
    segment->epoch = frame.epoch;
    segment->first_sequence = frame.sequence;
    found.push_back(std::move(segment));
    return OkStatus();
  }
  const std::string damaged = segment->path.substr(0, segment->path.rfind('.')) + ".damaged";
  const bool blank = std::ranges::all_of(*data, [](char c) { return c == 0; });
  if (blank) {
    Remove(*segment);
    return OkStatus();
  }
  ::close(segment->fd);
  std::error_code error;
  std::filesystem::rename(segment->path, damaged, error);
  log::Error("local log: {} does not start with a whole frame; it is set aside as {}",
             segment->path, damaged);
  if (error) return Error(StatusCode::kUnavailable, "{}: {}", damaged, error.message());
  return OkStatus();
}

Status LocalLog::Recover() {
  std::vector<std::unique_ptr<Segment>> found;
  std::error_code error;
  std::vector<uint32_t> ids;
  for (const auto& file : std::filesystem::directory_iterator(options_.path, error)) {
    const uint32_t id = SegmentId(file.path());
    next_segment_ = std::max(next_segment_, id + 1);
    if (id != 0 && file.path().extension() == ".journal") ids.push_back(id);
  }
  if (error) return Error(StatusCode::kUnavailable, "{}: {}", options_.path, error.message());
  std::ranges::sort(ids);
  for (const uint32_t id : ids) MR_RETURN_IF_ERROR(LoadSegment(id, found));
  std::ranges::sort(found, {}, [](const auto& segment) { return segment->epoch; });

  std::vector<Segment*> order;
  for (auto& segment : found) {
    order.push_back(segment.get());
    segments_[segment->id] = std::move(segment);
  }
  for (size_t i = 0; i < order.size(); ++i) {
    Segment& segment = *order[i];
    const bool last = i + 1 == order.size();
    // A later file overrules frames of the same sequence: they were never acknowledged.
    const uint64_t limit =
        last ? std::numeric_limits<uint64_t>::max() : order[i + 1]->first_sequence;
    MR_ASSIGN_OR_RETURN(const std::string data, ReadWhole(segment, segment.allocated));
    sequence_ = segment.first_sequence;
    Replay(segment, data, limit);
    if (!last && order[i + 1]->epoch == segment.epoch + 1 && sequence_ < limit) {
      log::Error("local log: {} is damaged at byte {}: {} frames are lost", segment.path,
                 segment.used, limit - sequence_);
    }
    last_epoch_ = segment.epoch;
  }
  // A killed process may have left it unsynced; from now on it counts as durable.
  if (!order.empty()) MR_RETURN_IF_ERROR(options_.io->Sync(order.back()->fd));
  durable_sequence_ = sequence_;
  FinishRecovery();
  return OkStatus();
}

void LocalLog::Replay(const Segment& segment, std::string_view data, uint64_t sequence_limit) {
  uint64_t at = 0;
  format::Frame frame;
  while (format::ReadFrame(data.substr(at), &frame) && frame.epoch == segment.epoch &&
         frame.sequence == sequence_ && frame.sequence < sequence_limit) {
    format::OpReader ops(frame.payload);
    format::Op op;
    while (ops.Next(&op)) ApplyOp(segment, at + format::kFrameHeaderBytes, op);
    if (!ops.ok()) log::Error("local log: {} has a malformed frame at byte {}", segment.path, at);
    at += format::kFrameHeaderBytes + frame.payload.size();
    ++sequence_;
  }
  segments_[segment.id]->used = at;
  // A whole frame that a later file overrules.
  segments_[segment.id]->failed =
      format::ReadFrame(data.substr(at), &frame) && frame.epoch == segment.epoch;
  if (format::ReadFrameHeader(data.substr(at), &frame) && frame.epoch == segment.epoch &&
      frame.sequence == sequence_ && frame.sequence < sequence_limit) {
    const size_t torn = data.substr(at).find_last_not_of('\0') + 1;
    log::Warning("local log: {} ends in a torn frame; {} bytes at {} are dropped", segment.path,
                 torn, at);
  }
}

void LocalLog::ApplyOp(const Segment& segment, uint64_t frame_position, const format::Op& op) {
  const auto topic = topics_by_id_.find(op.topic_id);
  const bool known = topic != topics_by_id_.end() && op.partition >= 0 &&
                     op.partition < static_cast<int32_t>(topic->second->partitions.size());
  const auto partition = [&]() -> Partition& {
    return topic->second->partitions[static_cast<size_t>(op.partition)];
  };
  switch (op.kind) {
    case format::OpKind::kBlock:
    case format::OpKind::kRelocatedBlock: {
      if (!known) return;
      AddToIndex(
          *topic->second, partition(),
          {op.offset, op.count, segment.id, static_cast<uint32_t>(frame_position + op.position),
           static_cast<uint32_t>(op.bytes), op.timestamp_us});
      return;
    }
    case format::OpKind::kTopic: {
      next_topic_id_ = std::max(next_topic_id_, op.topic_id + 1);
      std::shared_ptr<Topic>& made = topics_by_id_[op.topic_id];
      if (made == nullptr) {
        made = std::make_shared<Topic>();
        made->id = op.topic_id;
        made->partitions.resize(static_cast<size_t>(op.partition));
      }
      made->name = op.name;
      made->retention_ms = op.timestamp_us;
      made->deleted = false;
      topics_[made->name] = made;
      return;
    }
    case format::OpKind::kTopicDeleted:
      if (topic != topics_by_id_.end()) {
        const std::shared_ptr<Topic> kept = topic->second;
        ForgetTopic(*kept);
      }
      return;
    case format::OpKind::kOffset:
      // Older versions noted with -1 that a group reads.
      if (known && op.offset >= 0) {
        groups_.SetCommitted(std::string(op.name), {op.topic_id, op.partition},
                             {op.offset, std::string(op.text)});
      }
      return;
    case format::OpKind::kCheckpoint:
      // Topics named below keep their records; the others were deleted.
      next_topic_id_ = std::max(next_topic_id_, op.count);
      for (const auto& [id, known_topic] : topics_by_id_) known_topic->deleted = true;
      groups_.Clear();
      return;
    case format::OpKind::kBounds:
      if (known) {
        partition().begin = std::max(partition().begin, op.offset);
        partition().end = std::max(partition().end, op.end);
      }
      return;
  }
}

void LocalLog::FinishRecovery() {
  std::vector<std::shared_ptr<Topic>> deleted;
  for (const auto& [id, topic] : topics_by_id_) {
    if (topic->deleted) deleted.push_back(topic);
  }
  for (const auto& topic : deleted) {
    const std::shared_ptr<Topic> successor = FindTopic(topic->name);
    ForgetTopic(*topic);
    if (successor != nullptr && successor != topic) topics_[successor->name] = successor;
  }
  groups_.ForEachCommit([this](const std::string&, PartitionKey key, const Commit& commit) {
    const auto topic = topics_by_id_.find(key.first);
    if (topic == topics_by_id_.end()) return;
    // Offsets that a group has read are never given out again.
    Partition& partition = topic->second->partitions[static_cast<size_t>(key.second)];
    partition.end = std::max(partition.end, commit.offset);
  });
  for (const auto& [id, topic] : topics_by_id_) {
    for (Partition& partition : topic->partitions) {
      TrimBefore(*topic, partition, partition.begin);
      partition.begin = partition.index.empty()
                            ? partition.end
                            : std::max(partition.begin, partition.index.front().base);
    }
  }
}

}  // namespace millrace::event_log::local
