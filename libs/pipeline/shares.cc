#include "libs/pipeline/shares.h"

#include <algorithm>
#include <functional>
#include <optional>
#include <vector>

#include "libs/pipeline/topology.h"

namespace millrace::pipeline {
namespace {

constexpr uint64_t kWithoutQuota = 10ull << 30;

using Shares = std::map<std::string, DestinationShare, std::less<>>;

uint64_t PartOf(uint64_t bytes, double part) {
  return static_cast<uint64_t>(static_cast<double>(bytes) * part);
}

uint64_t LimitOf(const config::v1::Destination& destination, uint64_t quota,
                 const ShareOptions& options) {
  if (destination.share().max_bytes() > 0) return destination.share().max_bytes();
  if (options.default_bytes > 0) return options.default_bytes;
  return quota > 0 ? quota / 4 : kWithoutQuota;
}

void AddUsage(const event_log::LogUsage& usage, Shares& shares) {
  for (const event_log::TopicUsage& topic : usage.topics) {
    std::optional<std::string> id = DestinationOf(topic.topic);
    if (!id) id = ParkedDestinationOf(topic.topic);
    if (!id) continue;
    const auto found = shares.find(*id);
    if (found != shares.end()) found->second.bytes += topic.bytes;
  }
}

// What stays when the destination has done what is asked of it so far.
uint64_t Remaining(const DestinationShare& share) {
  return share.bytes - share.bytes_to_give_up;
}

// The level to which the largest must come down so that all together are `target` bytes.
uint64_t LevelFor(std::vector<uint64_t> sizes, uint64_t target) {
  std::ranges::sort(sizes, std::greater<>());
  uint64_t rest = 0;
  for (const uint64_t size : sizes) rest += size;
  for (size_t i = 0; i < sizes.size(); ++i) {
    rest -= sizes[i];
    const uint64_t next = i + 1 < sizes.size() ? sizes[i + 1] : 0;
    const uint64_t level = target > rest ? (target - rest) / (i + 1) : 0;
    if (level >= next) return level;
  }
  return 0;
}

}  // namespace

const DestinationShare* ShareEvaluation::Find(std::string_view destination_id) const {
  const auto found = destinations.find(destination_id);
  return found == destinations.end() ? nullptr : &found->second;
}

ShareEvaluation EvaluateShares(const event_log::LogUsage& usage,
                               const config::v1::Workspace& workspace, const ShareOptions& options,
                               const ShareEvaluation* before) {
  ShareEvaluation evaluation;
  Shares& shares = evaluation.destinations;
  for (const auto& destination : workspace.destinations()) {
    shares[destination.id()].limit_bytes = LimitOf(destination, usage.quota_bytes, options);
  }
  AddUsage(usage, shares);

  // Lowers `share` to `level`, by giving up or by taking nothing new.
  const auto lower = [](DestinationShare& share, bool refuses, uint64_t level) {
    if (refuses) {
      share.refuse_sources = true;
    } else if (Remaining(share) > level) {
      share.bytes_to_give_up = share.bytes - level;
    }
  };
  std::vector<uint64_t> sizes;
  uint64_t remaining = 0;
  for (const auto& destination : workspace.destinations()) {
    DestinationShare& share = shares[destination.id()];
    const bool refuses = destination.share().when_used_up() == config::v1::REFUSE_SOURCES;
    const uint64_t relieved = PartOf(share.limit_bytes, options.relief);
    const DestinationShare* was = before != nullptr ? before->Find(destination.id()) : nullptr;
    share.used_fraction = share.limit_bytes > 0 ? static_cast<double>(share.bytes) /
                                                      static_cast<double>(share.limit_bytes)
                                                : 1.0;
    if (share.bytes > share.limit_bytes) lower(share, refuses, relieved);
    if (refuses && was != nullptr && was->refuse_sources && share.bytes > relieved) {
      share.refuse_sources = true;
    }
    evaluation.bytes += share.bytes;
    remaining += Remaining(share);
    sizes.push_back(Remaining(share));
  }
  evaluation.together_bytes = PartOf(usage.quota_bytes, options.together);
  if (usage.quota_bytes == 0 || remaining <= evaluation.together_bytes) return evaluation;
  const uint64_t level =
      LevelFor(std::move(sizes), PartOf(evaluation.together_bytes, options.relief));
  for (const auto& destination : workspace.destinations()) {
    DestinationShare& share = shares[destination.id()];
    if (Remaining(share) <= level) continue;
    lower(share, destination.share().when_used_up() == config::v1::REFUSE_SOURCES, level);
  }
  return evaluation;
}

}  // namespace millrace::pipeline
