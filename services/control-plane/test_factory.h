#pragma once

#include <nlohmann/json.hpp>

#include <map>
#include <memory>
#include <sstream>
#include <string>
#include <vector>

#include "libs/base/mutex.h"
#include "libs/transformation/transformer.h"

namespace millrace::control_plane {

/// A factory for tests of what is around scripts. The code is a list of words, one a line:
///   set KEY VALUE | drop | throw TEXT | log TEXT | secret KEY (into field `secret`, log and, after
///   `throw`, the error) | count KEY (in the store) | hang (until Release) | import NAME | fault
///   TEXT
class TestFactory final : public transformation::TransformerFactory {
 public:
  StatusOr<std::shared_ptr<transformation::Transformer>> Make(
      const config::v1::TransformationVersion& version,
      const config::v1::Workspace& workspace) override {
    std::shared_ptr<transformation::Transformer> made =
        std::make_shared<Runner>(*this, version, workspace);
    return made;
  }
  std::vector<transformation::CodeFault> Check(const config::v1::TransformationVersion& version,
                                               const config::v1::Workspace& workspace) override {
    return Faults("transformation", version.code(), workspace);
  }
  std::vector<transformation::CodeFault> CheckLibrary(
      const config::v1::LibraryVersion& version, const config::v1::Workspace& workspace) override {
    return Faults(version.import_name(), version.code(), workspace);
  }
  /// Ends the runs that hang.
  void Release() {
    std::vector<std::function<void()>> hanging;
    {
      MutexLock lock(mu_);
      hanging.swap(hanging_);
    }
    for (const auto& end : hanging) end();
  }
  /// Waits until a run hangs.
  void AwaitHanging() {
    MutexLock lock(mu_);
    while (hanging_.empty()) changed_.wait(lock.native());
  }
  /// Called within each check.
  std::function<void()> on_check;

 private:
  std::vector<transformation::CodeFault> Faults(const std::string& where, const std::string& code,
                                                const config::v1::Workspace& workspace) {
    if (on_check) on_check();
    std::vector<transformation::CodeFault> faults;
    std::istringstream lines(code);
    int number = 0;
    for (std::string line; std::getline(lines, line);) {
      ++number;
      std::istringstream words(line);
      std::string word, rest;
      words >> word;
      std::getline(words >> std::ws, rest);
      if (word == "fault") faults.push_back({where, rest, number, 1});
      if (word != "import") continue;
      bool found = false;
      for (const auto& library : workspace.library_versions()) {
        found = found || (library.published() && library.import_name() == rest);
      }
      if (!found) faults.push_back({where, "there is no library " + rest, number, 8});
    }
    return faults;
  }

  class Runner final : public transformation::Transformer {
   public:
    Runner(TestFactory& factory, const config::v1::TransformationVersion& version,
           const config::v1::Workspace& workspace)
        : factory_(factory), version_(version), workspace_(workspace) {}
    const std::string& version_id() const override { return version_.id(); }
    bool stateful() const override { return false; }
    void Run(std::vector<transformation::Input> inputs, const transformation::RunContext& context,
             transformation::RunDone done) override {
      if (version_.code().find("hang") != std::string::npos) {
        MutexLock lock(factory_.mu_);
        factory_.hanging_.push_back(
            [done, count = inputs.size()] { done(std::vector<transformation::Output>(count)); });
        factory_.changed_.notify_all();
        return;
      }
      std::vector<transformation::Output> outputs;
      for (const auto& input : inputs) outputs.push_back(RunOne(input, context));
      done(std::move(outputs));
    }

   private:
    transformation::Output RunOne(const transformation::Input& input,
                                  const transformation::RunContext& context) {
      transformation::Output output{.cpu_us = 7, .peak_bytes = 1000};
      nlohmann::json event = nlohmann::json::parse(input.event.view());
      std::string secret;
      bool drop = false;
      std::istringstream lines(version_.code());
      for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        std::string word, key, rest;
        words >> word >> key;
        std::getline(words >> std::ws, rest);
        if (word == "set") event[key] = rest;
        if (word == "drop") drop = true;
        if (word == "log") output.log.push_back(key);
        if (word == "throw") {
          output.error = "Error: " + key + secret;
          output.error_class = "thrown";
          output.stack = "at transformEvent (transformation:1:1) " + secret;
        }
        if (word == "count")
          event[key] = *context.state->Increment(key, 1, std::chrono::seconds(0));
        if (word == "metadata") event["metadata"] = nlohmann::json::parse(*context.metadata_json);
        if (word != "secret") continue;
        for (const auto& credential : workspace_.credentials()) {
          if (credential.key() == key) secret = credential.value();
        }
        event["secret"] = {{secret, "is " + secret}};
        output.log.push_back("the secret is " + secret);
      }
      if (!drop && output.error.empty()) output.events.push_back(Bytes(event.dump()));
      return output;
    }

    TestFactory& factory_;
    const config::v1::TransformationVersion version_;
    const config::v1::Workspace workspace_;
  };

  Mutex mu_;
  std::condition_variable changed_;
  std::vector<std::function<void()>> hanging_ ABSL_GUARDED_BY(mu_);
};

}  // namespace millrace::control_plane
