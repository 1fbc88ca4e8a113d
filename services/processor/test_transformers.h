#pragma once

#include <fmt/format.h>

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "libs/base/mutex.h"
#include "libs/event/event_fields.h"
#include "libs/transformation/transformer.h"

/// Transformers in C++ for tests of what is around them: they run on a thread of their own, as real
/// ones.
namespace millrace::processor {

/// Runs tasks in their order.
class TaskThread {
 public:
  ~TaskThread() {
    Post(nullptr);
    thread_.join();
  }
  void Post(std::function<void()> task) {
    MutexLock lock(mu_);
    tasks_.push_back(std::move(task));
    wake_.notify_one();
  }

 private:
  void Run() {
    while (true) {
      std::function<void()> task;
      {
        MutexLock lock(mu_);
        while (tasks_.empty()) wake_.wait(lock.native());
        task = std::move(tasks_.front());
        tasks_.pop_front();
      }
      if (task == nullptr) return;
      task();
    }
  }

  Mutex mu_;
  std::condition_variable wake_;
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mu_);
  std::thread thread_{[this] { Run(); }};
};

/// Code is one command: "add NAME" (member NAME with the version's id), "meta NAME" (with what
/// metadata says of the destination), "drop", "copies N", "fail", "fail-on TEXT", "lose" (the
/// engine fails always), "lose-once", "slow MS" (takes its time), "type T", "id T", "no-id", "count
/// KEY" (member KEY with the count of the store), "log TEXT".
class TestTransformer final : public transformation::Transformer {
 public:
  TestTransformer(const config::v1::TransformationVersion& version, TaskThread& thread)
      : id_(version.id()), thread_(thread) {
    const std::string& code = version.code();
    const size_t space = code.find(' ');
    command_ = code.substr(0, space);
    if (space != std::string::npos) argument_ = code.substr(space + 1);
  }

  const std::string& version_id() const override { return id_; }
  bool stateful() const override { return command_ == "count"; }
  void Run(std::vector<transformation::Input> inputs, const transformation::RunContext& context,
           transformation::RunDone done) override {
    thread_.Post([this, inputs = std::move(inputs), context, done = std::move(done)] {
      std::vector<transformation::Output> outputs;
      for (const auto& input : inputs) {
        outputs.push_back(Apply(input, context));
        size_t size = 0;
        for (const Bytes& event : outputs.back().events) size += event.size();
        if (context.output_budget == nullptr || context.output_budget->Take(size)) continue;
        outputs.back() = {.error = "no room", .error_class = "result_too_large", .again = true};
      }
      done(std::move(outputs));
    });
  }

 private:
  transformation::Output Apply(const transformation::Input& input,
                               const transformation::RunContext& context) {
    const auto with = [&](std::string_view name, std::string value) -> transformation::Output {
      return {.events = {Bytes(event::SetFields(input.event.view(), {{name, std::move(value)}}))},
              .cpu_us = 1};
    };
    const auto failed = [](std::string error, std::string error_class) -> transformation::Output {
      return {
          .error = std::move(error), .error_class = std::move(error_class), .stack = "at line 1"};
    };
    if (command_ == "add") return with(argument_, '"' + id_ + '"');
    if (command_ == "meta") {
      const std::string& json = *context.metadata_json;
      const size_t at = json.find("\"destinationId\":\"") + 17;
      return with(argument_, '"' + json.substr(at, json.find('"', at) - at) + '"');
    }
    if (command_ == "drop") return {};
    if (command_ == "slow")
      std::this_thread::sleep_for(std::chrono::milliseconds(std::stoi(argument_)));
    if (command_ == "type") return with("type", event::QuoteJson(argument_));
    if (command_ == "id") return with("messageId", event::QuoteJson(argument_));
    if (command_ == "no-id") return with("messageId", "");
    if (command_ == "copies") {
      return {.events = {static_cast<size_t>(std::stoi(argument_)), input.event}};
    }
    if (command_ == "log") return {.events = {input.event}, .log = {argument_}};
    if (command_ == "fail") return failed("wrong", "thrown");
    if (command_ == "fail-on" && input.event.view().find(argument_) != std::string_view::npos) {
      return failed("wrong", "thrown");
    }
    if (command_ == "lose" || (command_ == "lose-once" && lost_++ == 0)) {
      auto output = failed("the worker died", "engine");
      output.again = true;
      return output;
    }
    if (command_ == "count") {
      if (context.state == nullptr) return failed("no store", "thrown");
      context.state->Begin();
      const auto count = context.state->Increment(argument_, 1, std::chrono::seconds(0));
      context.state->End(count.ok());
      if (!count.ok()) return failed(std::string(Message(count.status())), "thrown");
      return with(argument_, fmt::format("{}", *count));
    }
    return {.events = {input.event}};
  }

  const std::string id_;
  TaskThread& thread_;
  std::string command_;
  std::string argument_;
  int lost_ = 0;
};

/// Code "broken" cannot be made.
class TestTransformers final : public transformation::TransformerFactory {
 public:
  StatusOr<std::shared_ptr<transformation::Transformer>> Make(
      const config::v1::TransformationVersion& version, const config::v1::Workspace&) override {
    if (version.code() == "broken") {
      return Error(StatusCode::kInvalidArgument, "line 1, column 1: unexpected end");
    }
    return std::make_shared<TestTransformer>(version, thread_);
  }
  std::vector<transformation::CodeFault> Check(const config::v1::TransformationVersion&,
                                               const config::v1::Workspace&) override {
    return {};
  }
  std::vector<transformation::CodeFault> CheckLibrary(const config::v1::LibraryVersion&,
                                                      const config::v1::Workspace&) override {
    return {};
  }

 private:
  TaskThread thread_;
};

/// Puts a transformation with one published version, "<id>.v1", into the workspace.
inline void AddTransformation(config::v1::Workspace& workspace, const std::string& id,
                              const std::string& code) {
  auto& transformation = *workspace.add_transformations();
  transformation.set_id(id);
  transformation.set_name("name of " + id);
  auto& version = *transformation.mutable_published();
  version.set_id(id + ".v1");
  version.set_transformation_id(id);
  version.set_number(1);
  // The text decides about metadata as with real code; "meta" asks for it.
  version.set_code(code);
  version.set_kind(code.rfind("meta", 0) == 0 ? config::v1::JAVASCRIPT : config::v1::RULES);
}

}  // namespace millrace::processor
