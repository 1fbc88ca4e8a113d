#pragma once

#include <catch2/catch.hpp>
#include <zlib.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "libs/base/hash.h"
#include "libs/config/local_source.h"
#include "libs/testing/memory_log.h"
#include "services/gateway/gateway.h"

/// What the gateway's tests share.
namespace millrace::gateway::test {

class Answered final : public http::Responder::Impl {
 public:
  void Send(http::Response response) override {
    const std::scoped_lock lock(mu_);
    response_ = std::move(response);
    came_.notify_all();
  }
  std::shared_ptr<http::StreamWriter> Stream(http::Response) override { return nullptr; }
  std::optional<http::Response> response() {
    const std::scoped_lock lock(mu_);
    return response_;
  }
  /// Large bodies are worked on another thread.
  http::Response Wait() {
    std::unique_lock lock(mu_);
    came_.wait(lock, [this] { return response_.has_value(); });
    return *response_;
  }

 private:
  std::mutex mu_;
  std::condition_variable came_;
  std::optional<http::Response> response_;
};

inline std::string Basic(std::string_view key) {
  return "Basic " + EncodeBase64(std::string(key) + ":");
}

inline std::string Gzip(std::string_view text) {
  z_stream stream{};
  REQUIRE(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) == Z_OK);
  std::string packed(deflateBound(&stream, text.size()) + 32, '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  REQUIRE(deflate(&stream, Z_FINISH) == Z_STREAM_END);
  packed.resize(stream.total_out);
  deflateEnd(&stream);
  return packed;
}

inline std::string HeaderOf(const http::Response& response, std::string_view name) {
  for (const auto& [key, value] : response.headers) {
    if (key == name) return value;
  }
  return {};
}

// A gateway with one source (keys `key` and `old`) and a disabled one (`off`), before a log in
// memory.
class Fixture {
 public:
  explicit Fixture(bool with_workspace = true, settings::v1::GatewaySettings settings = {},
                   std::unique_ptr<event_log::Appender> appender = nullptr,
                   std::function<bool(const SourceEntry&)> refuses = nullptr) {
    REQUIRE(log.EnsureTopic("ingest", {}).ok());
    if (with_workspace) SetWorkspace();
    auto made = Gateway::Create(
        settings, {log, config, metrics, clock, std::move(appender), std::move(refuses)});
    REQUIRE(made.ok());
    gate = *std::move(made);
  }
  void SetWorkspace() {
    auto workspace = std::make_shared<config::v1::Workspace>();
    workspace->set_id("ws");
    auto* source = workspace->add_sources();
    source->set_id("src");
    source->add_write_keys("key");
    source->add_write_keys("old");
    source->set_enabled(true);
    auto* connection = workspace->add_connections();
    connection->set_source_id("src");
    connection->set_destination_id("dst");
    connection->set_enabled(true);
    auto* disabled = workspace->add_sources();
    disabled->set_id("src2");
    disabled->add_write_keys("off");
    config.Set(workspace);
  }
  http::Response Send(http::Request request) {
    auto answered = std::make_shared<Answered>();
    gate->Handle(std::move(request), http::Responder(answered));
    return answered->Wait();
  }
  static http::Request Request(const std::string& target, std::string body, http::Headers headers) {
    const size_t question = target.find('?');
    http::Request request{.method = "POST", .path = target.substr(0, question)};
    if (question != std::string::npos) request.query = target.substr(question + 1);
    request.headers = std::move(headers);
    request.body = Bytes(std::move(body));
    request.remote_ip = "192.0.2.7";
    return request;
  }
  http::Response Post(const std::string& target, std::string body, http::Headers headers) {
    return Send(Request(target, std::move(body), std::move(headers)));
  }
  http::Response Post(const std::string& target, std::string body) {
    return Post(target, std::move(body), {{"authorization", Basic("key")}});
  }
  event::v1::EventMeta Meta(size_t index) const {
    event::v1::EventMeta meta;
    REQUIRE(meta.ParseFromString(log.records().at(index).meta));
    return meta;
  }

  millrace::testing::MemoryLog log;
  config::LocalSource config;
  telemetry::Metrics metrics;
  FakeClock clock;
  std::unique_ptr<Gateway> gate;
};

}  // namespace millrace::gateway::test
