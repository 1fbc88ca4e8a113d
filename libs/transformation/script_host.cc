#include "libs/transformation/script_host.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <optional>

namespace millrace::transformation {
namespace {

using Json = nlohmann::json;
using script::HostAnswer;
using script::HostCall;

HostAnswer Failed(std::string message) {
  return {.failed = true, .text = std::move(message)};
}

std::string ToText(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

class ScriptHost final : public script::Host {
 public:
  explicit ScriptHost(ScriptHostOptions options)
      : options_(std::move(options)), fetches_(options_.fetches.size(), 0) {}

  void Ask(HostCall call, std::function<void(HostAnswer)> done) override {
    if (call.name == "fetch") return Fetch(call, std::move(done));
    Json arguments = Json::parse(call.arguments, nullptr, false);
    if (!arguments.is_array()) arguments = Json::array();
    if (call.name == "geolocation") return done(Locate(arguments));
    if (call.name.compare(0, 6, "store.") == 0) return done(Store(call, arguments));
    done(Failed("there is no host function '" + call.name + "'"));
  }

  void Ended(uint32_t input, bool well) override {
    if (input < fetches_.size()) fetches_[input] = 0;
    if (open_ != input) return;
    options_.state->End(well);
    open_.reset();
  }

 private:
  void Fetch(const HostCall& call, std::function<void(HostAnswer)> done) {
    if (options_.fetcher == nullptr) return done(Failed("fetch is not available here"));
    const uint32_t allowed =
        call.input < options_.fetches.size() ? options_.fetches[call.input] : 0;
    if (allowed == 0 || fetches_[call.input] >= allowed) {
      return done(Failed(fmt::format(
          "too many fetches: one call may make {}; raise the transformation's limit 'fetches'",
          allowed)));
    }
    ++fetches_[call.input];
    options_.fetcher->Fetch(call.arguments, options_.workspace_id, std::move(done));
  }

  HostAnswer Locate(const Json& arguments) const {
    if (options_.geolocation == nullptr) return Failed("geolocation is not available right now");
    if (arguments.empty() || !arguments[0].is_string()) return Failed("invalid ip address");
    StatusOr<std::string> found =
        options_.geolocation->Lookup(arguments[0].get_ref<const std::string&>());
    if (found.ok()) return {.text = *std::move(found)};
    if (found.status().code() == StatusCode::kNotFound) return {.text = "{}"};
    if (found.status().code() == StatusCode::kInvalidArgument) return Failed("invalid ip address");
    return Failed(std::string(Message(found.status())));
  }

  HostAnswer Store(const HostCall& call, const Json& arguments) {
    if (options_.state == nullptr) return Failed("store is not available here");
    if (!options_.stateful) {
      return Failed(
          "store was not found in the code of this version; write it as 'store.get(...)'");
    }
    const auto text = [&](size_t at) {
      return at < arguments.size() && arguments[at].is_string() ? arguments[at].get<std::string>()
                                                                : std::string();
    };
    const auto number = [&](size_t at) {
      return at < arguments.size() && arguments[at].is_number() ? arguments[at].get<double>() : 0.0;
    };
    const auto seconds = [&](size_t at) {
      constexpr double kLongest = 1e12;
      return std::chrono::seconds(static_cast<int64_t>(std::clamp(number(at), 0.0, kLongest)));
    };
    const std::string key = text(0);
    if (key.empty()) return Failed("store: the key must be a text that is not empty");
    if (open_ != call.input) {
      if (open_.has_value()) options_.state->End(false);
      options_.state->Begin();
      open_ = call.input;
    }
    if (call.name == "store.get") {
      const auto value = options_.state->Get(key);
      if (!value.ok()) return Failed(std::string(Message(value.status())));
      return {.text = value->has_value() ? ToText(**value) : "null"};
    }
    if (call.name == "store.incr") {
      const auto sum = options_.state->Increment(key, number(1), seconds(2));
      if (!sum.ok()) return Failed(std::string(Message(sum.status())));
      return {.text = ToText(*sum)};
    }
    Status status = Error(StatusCode::kInvalidArgument, "there is no '{}'", call.name);
    if (call.name == "store.set") status = options_.state->Set(key, text(1), seconds(2));
    if (call.name == "store.del") status = options_.state->Delete(key);
    return status.ok() ? HostAnswer{.text = "null"} : Failed(std::string(Message(status)));
  }

  const ScriptHostOptions options_;
  std::vector<uint32_t> fetches_;  // made so far
  std::optional<uint32_t> open_;   // the input whose writes `state` holds
};

}  // namespace

std::shared_ptr<script::Host> MakeScriptHost(ScriptHostOptions options) {
  return std::make_shared<ScriptHost>(std::move(options));
}

}  // namespace millrace::transformation
