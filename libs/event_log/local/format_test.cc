#include "libs/event_log/local/format.h"

#include <catch2/catch.hpp>

#include <random>
#include <vector>

using namespace millrace::event_log::format;

namespace {

std::string SampleFrame() {
  std::string records;
  PutRecord(records, "key", "meta", "value");
  PutRecord(records, "", "", std::string(300, 'x'));
  std::string frame(kFrameHeaderBytes, '\0');
  PutOp(frame, {.kind = OpKind::kTopic,
                .topic_id = 1,
                .partition = 4,
                .timestamp_us = 1000,
                .name = "ingest"});
  PutOp(frame, {.kind = OpKind::kBlock,
                .topic_id = 1,
                .offset = 7,
                .timestamp_us = 5,
                .count = 2,
                .text = records});
  PutOp(frame,
        {.kind = OpKind::kOffset, .topic_id = 1, .offset = 9, .name = "group", .text = "note"});
  PutOp(frame, {.kind = OpKind::kBounds, .topic_id = 1, .offset = 7, .end = 9});
  PutOp(frame, {.kind = OpKind::kCheckpoint, .count = 2});
  PutOp(frame, {.kind = OpKind::kTopicDeleted, .topic_id = 1});
  FinishFrame(frame, 3, 42);
  return frame;
}

// Reads all there is, as recovery does; how many ops and records there were.
std::pair<int, int> ReadAll(std::string_view payload) {
  std::pair<int, int> counts{0, 0};
  OpReader reader(payload);
  Op op;
  while (reader.Next(&op)) {
    ++counts.first;
    if (op.position + op.bytes > payload.size()) FAIL("an op beyond its frame");
    std::string_view records = op.text, key, meta, value;
    if (op.kind != OpKind::kBlock && op.kind != OpKind::kRelocatedBlock) continue;
    while (TakeRecord(&records, &key, &meta, &value)) ++counts.second;
  }
  return counts;
}

}  // namespace

TEST_CASE("a frame is read as it was written", "[local_log]") {
  const std::string bytes = SampleFrame();
  Frame frame;
  REQUIRE(ReadFrame(bytes, &frame));
  CHECK(frame.epoch == 3);
  CHECK(frame.sequence == 42);
  CHECK(ReadAll(frame.payload) == std::pair(6, 2));
}

TEST_CASE("frames and ops at random stay within their bytes", "[local_log][fuzz]") {
  const std::string good = SampleFrame();
  std::mt19937 random(20261125);
  int64_t ops = 0;
  for (int round = 0; round < 50'000; ++round) {
    std::string bytes = good;
    for (uint32_t mutations = 1 + random() % 4; mutations > 0; --mutations) {
      const size_t at = random() % bytes.size();
      switch (random() % 4) {
        case 0:
          bytes[at] = static_cast<char>(random());
          break;
        case 1:
          bytes.erase(at, 1 + random() % 16);
          break;
        case 2:
          bytes.insert(at, 1 + random() % 8, static_cast<char>(random() % 2 == 0 ? 0xff : 0));
          break;
        default:
          bytes.resize(std::max<size_t>(at, 1));
      }
      if (bytes.empty()) bytes = "x";
    }
    // A copy of exactly this size: a sanitizer sees a byte too many.
    const std::vector<char> exact(bytes.begin(), bytes.end());
    const std::string_view view(exact.data(), exact.size());
    CAPTURE(round);
    Frame frame;
    if (ReadFrame(view, &frame) && bytes.substr(0, good.size()) != good)
      FAIL("the checksum has not told");
    ReadFrameHeader(view, &frame);
    // The ops behind a checksum that happens to be right.
    if (view.size() > kFrameHeaderBytes) ops += ReadAll(view.substr(kFrameHeaderBytes)).first;
  }
  CHECK(ops > 50'000);
}
