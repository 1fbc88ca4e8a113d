#include "services/control-plane/config_service.h"

#include <catch2/catch.hpp>
#include <unistd.h>

#include <condition_variable>
#include <filesystem>
#include <map>

#include "libs/base/file.h"
#include "libs/base/ids.h"
#include "libs/base/mutex.h"
#include "libs/config/local_source.h"
#include "libs/config/watch_client.h"

namespace millrace::control_plane {
namespace {

constexpr std::chrono::milliseconds kLong{20'000};

config::WorkspacePtr Make(uint64_t revision, const std::map<std::string, std::string>& sources,
                          int64_t updated_at_us = 1) {
  auto workspace = std::make_shared<config::v1::Workspace>();
  workspace->set_id("default");
  workspace->set_revision(revision);
  workspace->set_updated_at_us(updated_at_us);
  for (const auto& [id, name] : sources) {
    auto* source = workspace->add_sources();
    source->set_id(id);
    source->set_name(name);
  }
  return workspace;
}

/// The newest workspace that a source told, for waiting on.
class Latest {
 public:
  explicit Latest(config::ConfigSource& source)
      : handle_(source.Subscribe([this](const config::WorkspacePtr& workspace) {
          MutexLock lock(mu_);
          latest_ = workspace;
          ++changes_;
          changed_.notify_all();
        })) {}
  /// Waits until the revision is there; null when it does not come.
  config::WorkspacePtr Await(uint64_t revision) {
    MutexLock lock(mu_);
    const auto deadline = std::chrono::steady_clock::now() + kLong;
    while (latest_ == nullptr || latest_->revision() != revision) {
      if (changed_.wait_until(lock.native(), deadline) == std::cv_status::timeout) return nullptr;
    }
    return latest_;
  }
  int changes() {
    MutexLock lock(mu_);
    return changes_;
  }

 private:
  Mutex mu_;
  std::condition_variable changed_;
  config::WorkspacePtr latest_;
  int changes_ = 0;
  std::shared_ptr<void> handle_;
};

struct Folder {
  Folder() : path((std::filesystem::temp_directory_path() / ("watch-" + NewUuid())).string()) {}
  ~Folder() { std::filesystem::remove_all(path); }
  const std::string path;
};

config::WatchOptions Options(int port, const std::string& folder) {
  return {.address = "127.0.0.1:" + std::to_string(port),
          .token = "right",
          .cache_dir = folder,
          .service = "gateway",
          .instance = "gateway-0",
          .backoff = {.initial = std::chrono::milliseconds(10),
                      .maximum = std::chrono::milliseconds(100)}};
}

}  // namespace

TEST_CASE("a watcher gets the snapshot and then each change", "[config][grpc]") {
  Folder folder;
  config::LocalSource source;
  source.Set(Make(3, {{"a", "A"}}));
  const auto server = ConfigServer::Start("127.0.0.1:0", "right", source);
  REQUIRE(server.ok());
  const auto client = config::WatchClient::Start(Options((*server)->port(), folder.path));
  REQUIRE(client.ok());
  REQUIRE((*client)->WaitForSnapshot(kLong).ok());
  Latest latest(**client);
  REQUIRE(latest.Await(3) != nullptr);
  source.Set(Make(4, {{"a", "A2"}, {"b", "B"}}));
  const auto changed = latest.Await(4);
  REQUIRE(changed != nullptr);
  REQUIRE(changed->sources_size() == 2);
  CHECK(changed->sources(0).name() == "A2");
  source.Set(Make(5, {{"b", "B"}}));
  const auto deleted = latest.Await(5);
  REQUIRE(deleted != nullptr);
  CHECK(deleted->sources_size() == 1);
}

TEST_CASE("without the control plane the last snapshot serves, also after a restart",
          "[config][grpc]") {
  Folder folder;
  config::LocalSource source;
  source.Set(Make(7, {{"a", "A"}}));
  auto server = ConfigServer::Start("127.0.0.1:0", "right", source);
  REQUIRE(server.ok());
  const int port = (*server)->port();
  {
    const auto client = config::WatchClient::Start(Options(port, folder.path));
    REQUIRE(client.ok());
    REQUIRE((*client)->WaitForSnapshot(kLong).ok());
  }
  server->reset();  // away
  const auto client = config::WatchClient::Start(Options(port, folder.path));
  REQUIRE(client.ok());
  REQUIRE((*client)->Current() != nullptr);
  CHECK((*client)->Current()->revision() == 7);
  // Back again, with a change made meanwhile.
  source.Set(Make(8, {{"a", "A"}, {"b", "B"}}));
  server = ConfigServer::Start("127.0.0.1:" + std::to_string(port), "right", source);
  REQUIRE(server.ok());
  Latest latest(**client);
  const auto changed = latest.Await(8);
  REQUIRE(changed != nullptr);
  CHECK(changed->sources_size() == 2);
}

TEST_CASE("a control plane set up anew is told apart although its revision is the same",
          "[config][grpc]") {
  Folder folder;
  config::LocalSource first;
  first.Set(Make(2, {{"old", "Old"}}, 100));
  {
    const auto server = ConfigServer::Start("127.0.0.1:0", "right", first);
    REQUIRE(server.ok());
    const auto client = config::WatchClient::Start(Options((*server)->port(), folder.path));
    REQUIRE(client.ok());
    REQUIRE((*client)->WaitForSnapshot(kLong).ok());
  }
  config::LocalSource second;
  second.Set(Make(2, {{"new", "New"}}, 200));
  const auto server = ConfigServer::Start("127.0.0.1:0", "right", second);
  REQUIRE(server.ok());
  const auto client = config::WatchClient::Start(Options((*server)->port(), folder.path));
  REQUIRE(client.ok());
  Latest latest(**client);
  second.Set(Make(3, {{"new", "New"}}, 300));
  const auto changed = latest.Await(3);
  REQUIRE(changed != nullptr);
  REQUIRE(changed->sources_size() == 1);
  CHECK(changed->sources(0).id() == "new");
}

TEST_CASE("a wrong token is refused, and the reason reaches the operator", "[config][grpc]") {
  Folder folder;
  config::LocalSource source;
  source.Set(Make(1, {}));
  const auto server = ConfigServer::Start("127.0.0.1:0", "other", source);
  REQUIRE(server.ok());
  const auto client = config::WatchClient::Start(Options((*server)->port(), folder.path));
  REQUIRE(client.ok());
  const Status status = (*client)->WaitForSnapshot(std::chrono::milliseconds(1000));
  CHECK(status.code() == StatusCode::kUnavailable);
  CHECK(Message(status).find("service token") != std::string_view::npos);
  CHECK((*client)->Current() == nullptr);
}

TEST_CASE("a damaged cache file is as none, and the file is its owner's only", "[config][grpc]") {
  Folder folder;
  config::LocalSource source;
  source.Set(Make(4, {{"a", "A"}}));
  const auto server = ConfigServer::Start("127.0.0.1:0", "right", source);
  REQUIRE(server.ok());
  {
    const auto client = config::WatchClient::Start(Options((*server)->port(), folder.path));
    REQUIRE(client.ok());
    REQUIRE((*client)->WaitForSnapshot(kLong).ok());
  }
  const std::string path = folder.path + "/workspace.bin";
  CHECK((std::filesystem::status(path).permissions() & std::filesystem::perms::all) ==
        (std::filesystem::perms::owner_read | std::filesystem::perms::owner_write));
  auto bytes = ReadFile(path);
  REQUIRE(bytes.ok());
  bytes->back() ^= 1;
  REQUIRE(WriteFileAtomically(path, *bytes, 0600).ok());
  const auto client = config::WatchClient::Start(Options((*server)->port(), folder.path));
  REQUIRE(client.ok());
  REQUIRE((*client)->WaitForSnapshot(kLong).ok());  // from the server
  CHECK((*client)->Current()->revision() == 4);
}

}  // namespace millrace::control_plane
