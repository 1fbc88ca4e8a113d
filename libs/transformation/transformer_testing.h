#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "libs/base/mutex.h"
#include "libs/transformation/factory.h"

/// Parts for this library's tests.
namespace millrace::transformation {

/// Answers fetches from a list, in order; beyond it with an empty text.
class ListFetcher final : public Fetcher {
 public:
  ListFetcher() = default;
  explicit ListFetcher(std::vector<script::HostAnswer> answers) : answers_(std::move(answers)) {}

  void Fetch(std::string_view arguments_json, std::string_view,
             std::function<void(script::HostAnswer)> done) override {
    script::HostAnswer answer{
        .text = R"({"url":"https://a.example/","status":200,"headers":{},"body":""})"};
    {
      MutexLock lock(mu_);
      if (asked_.size() < answers_.size()) answer = answers_[asked_.size()];
      asked_.emplace_back(arguments_json);
    }
    done(std::move(answer));
  }
  std::vector<std::string> asked() const {
    MutexLock lock(mu_);
    return asked_;
  }

 private:
  mutable Mutex mu_;
  std::vector<script::HostAnswer> answers_;
  std::vector<std::string> asked_ ABSL_GUARDED_BY(mu_);
};

class FixedGeolocation final : public Geolocation {
 public:
  StatusOr<std::string> Lookup(const std::string& ip) override {
    if (ip.find_first_not_of("0123456789.") != std::string::npos) {
      return MakeStatus(StatusCode::kInvalidArgument, "not an address");
    }
    if (ip != "192.0.2.1") return MakeStatus(StatusCode::kNotFound, "not in the database");
    return std::string(R"({"country":"AQ"})");
  }
};

/// A factory on a real pool with a workspace that has a few libraries.
struct TestFactory {
  explicit TestFactory(std::vector<script::HostAnswer> answers = {}) : fetcher(std::move(answers)) {
    auto started = script::WorkerPool::Start({.hang_grace = std::chrono::seconds(20)});
    MR_CHECK(started.ok());
    pool = *std::move(started);
    factory = MakeTransformerFactory(
        {.pool = pool.get(), .fetcher = &fetcher, .geolocation = &geolocation});
    workspace.set_id("w1");
    AddLibrary("maths", "export const half = (n) => n / 2;", "maths-1");
    AddLibrary("ring", "import 'ring';", "ring-1");
    AddLibrary("text", "export * from 'maths'; export const upper = (t) => t.toUpperCase();",
               "text-1");
    AddLibrary("thrower", "throw new Error('not ready');", "thrower-1");
    AddLibrary("broken", "\n\nfunction {", "broken-1");
    AddLibrary("roundA", "import 'roundB';", "roundA-1");
    AddLibrary("roundB", "import 'roundA';", "roundB-1");
  }

  /// Adds a version of a library and publishes it.
  void AddLibrary(const std::string& name, const std::string& code, const std::string& id) {
    for (auto& one : *workspace.mutable_library_versions()) {
      if (one.import_name() == name) one.set_published(false);
    }
    auto* version = workspace.add_library_versions();
    version->set_id(id);
    version->set_import_name(name);
    version->set_code(code);
    version->set_published(true);
  }

  config::v1::TransformationVersion Version(const std::string& code) const {
    config::v1::TransformationVersion version;
    version.set_id("v1");
    version.set_transformation_id("t1");
    version.set_code(code);
    version.mutable_limits()->set_cpu_ms(200);
    // Little enough to be used up before the time is, also with sanitizers.
    version.mutable_limits()->set_memory_bytes(8 << 20);
    return version;
  }

  /// The outputs of `code` for `events`, whose messageId is m0, m1, ...
  std::vector<Output> Outputs(const std::string& code, const std::vector<std::string>& events,
                              RunContext context = {}) {
    auto made = factory->Make(Version(code), workspace);
    if (!made.ok()) throw std::runtime_error(std::string(Message(made.status())));
    return Outputs(**made, events, context);
  }
  std::vector<Output> Outputs(Transformer& transformer, const std::vector<std::string>& events,
                              const RunContext& context = {}) {
    std::vector<Input> inputs;
    for (size_t i = 0; i < events.size(); ++i) {
      inputs.push_back({.event = Bytes(events[i]),
                        .metadata_json = fmt::format(R"({{"messageId":"m{}","jobId":{}}})", i, i),
                        .now_us = 1'767'225'600'000'000,
                        .seed = "seed",
                        .user = 1});
    }
    return RunAndWait(transformer, std::move(inputs), context);
  }

  /// The same as texts: events, or "error class: error".
  static std::vector<std::string> Texts(const std::vector<Output>& outputs) {
    std::vector<std::string> texts;
    for (const Output& output : outputs) {
      for (const Bytes& event : output.events) texts.emplace_back(event.view());
      if (!output.error.empty()) texts.push_back(output.error_class + ": " + output.error);
    }
    return texts;
  }
  std::vector<std::string> Run(Transformer& transformer, const std::vector<std::string>& events) {
    return Texts(Outputs(transformer, events));
  }
  std::vector<std::string> Run(const std::string& code, const std::vector<std::string>& events) {
    return Texts(Outputs(code, events));
  }

  ListFetcher fetcher;
  FixedGeolocation geolocation;
  std::unique_ptr<script::WorkerPool> pool;
  std::unique_ptr<TransformerFactory> factory;
  config::v1::Workspace workspace;
};

}  // namespace millrace::transformation
