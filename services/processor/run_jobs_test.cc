#include "services/processor/run_jobs.h"

#include <catch2/catch.hpp>

#include <memory>
#include <string>
#include <vector>

#include "services/processor/pace.h"
#include "services/processor/test_transformers.h"

namespace millrace::processor {
namespace {

constexpr std::chrono::seconds kLong{60};

std::shared_ptr<ByteBudget> Room(size_t bytes = 1 << 20) {
  return std::make_shared<ByteBudget>(bytes);
}

TransformJob Job(TaskThread& thread, const std::string& code, size_t inputs, int queue = -1) {
  config::v1::TransformationVersion version;
  version.set_id("v1");
  version.set_code(code);
  TransformJob job;
  job.transformer = std::make_shared<TestTransformer>(version, thread);
  for (size_t i = 0; i < inputs; ++i) {
    job.inputs.push_back({.event = Bytes("{\"n\":" + std::to_string(i) + "}")});
  }
  job.queue = queue;
  return job;
}

TEST_CASE("Each output stands in the place of its input", "[transform]") {
  TaskThread thread;
  std::vector<TransformJob> jobs;
  jobs.push_back(Job(thread, "copies 1", 1'000));
  jobs.push_back(Job(thread, "copies 1", 0));
  jobs.push_back(Job(thread, "fail", 3, 7));
  jobs.push_back(Job(thread, "copies 2", 3, 7));
  CHECK(RunJobs(jobs, kLong, Room()));
  for (size_t i = 0; i < 1'000; ++i) {
    REQUIRE(jobs[0].outputs[i].events.size() == 1);
    CHECK(jobs[0].outputs[i].events[0].view() == jobs[0].inputs[i].event.view());
    CHECK(jobs[0].attempts[i] == 1);
  }
  CHECK(jobs[2].outputs[2].error == "wrong");
  CHECK(jobs[3].outputs[2].events.size() == 2);
}

TEST_CASE("What takes too long is not begun any more", "[transform]") {
  TaskThread thread;
  std::vector<TransformJob> jobs;
  jobs.push_back(Job(thread, "slow 10", 100, 7));
  jobs.push_back(Job(thread, "copies 1", 3, 7));  // its turn never comes
  jobs.push_back(Job(thread, "copies 1", 3));
  CHECK(!RunJobs(jobs, std::chrono::milliseconds(50), Room()));
  CHECK(jobs[0].outputs[0].error.empty());
  CHECK(jobs[0].outputs[99].error_class == "timeout");
  CHECK(jobs[1].outputs[0].error_class == "timeout");
  CHECK(jobs[2].outputs[0].error.empty());
}

TEST_CASE("When the room for outputs is used up, nothing more is begun", "[transform]") {
  TaskThread thread;
  std::vector<TransformJob> jobs;
  jobs.push_back(Job(thread, "copies 1000", 1'000));
  const auto room = Room(10'000);
  CHECK(!RunJobs(jobs, kLong, room));
  CHECK(room->overdrawn());
  size_t held = 0;
  for (const auto& output : jobs[0].outputs) {
    for (const Bytes& event : output.events) held += event.size();
  }
  CHECK(held > 0);
  CHECK(held <= 10'000);
  CHECK(jobs[0].attempts[999] == 0);
}

TEST_CASE("Batches shrink when they take long and grow again", "[transform]") {
  BatchPace pace(2'000);
  pace.Took(2'000, std::chrono::seconds(7));
  CHECK(pace.limit() == 2'000);
  pace.Took(2'000, std::chrono::seconds(20));
  CHECK(pace.limit() == 1'000);
  pace.TooMuch(1'000);
  CHECK(pace.limit() == 62);
  pace.TooMuch(1);
  CHECK(pace.limit() == 1);
  for (int i = 0; i < 20; ++i) pace.Took(1, std::chrono::milliseconds(10));
  CHECK(pace.limit() == 2'000);
}

}  // namespace
}  // namespace millrace::processor
