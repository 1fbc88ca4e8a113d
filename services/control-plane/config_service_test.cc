#include "services/control-plane/config_service.h"

#include <catch2/catch.hpp>
#include <grpcpp/grpcpp.h>
#include <unistd.h>

#include <condition_variable>
#include <filesystem>
#include <map>
#include <thread>

#include "libs/base/file.h"
#include "libs/base/ids.h"
#include "libs/base/mutex.h"
#include "libs/config/local_source.h"
#include "libs/config/watch_client.h"
#include "millrace/config/v1/config_service.grpc.pb.h"

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

namespace {

/// A control plane's store with its server; `changes` of it are made one after the other.
struct Plane {
  explicit Plane(std::string path) : store(*Store::Open(path)) { source.Set(Loaded()); }
  config::WorkspacePtr Loaded() {
    return std::make_shared<const config::v1::Workspace>(*store->LoadWorkspace());
  }
  void Serve(int at_port = 0) {
    server = *ConfigServer::Start("127.0.0.1:" + std::to_string(at_port), "right", source, nullptr,
                                  [this](const auto& held) { return store->DescentFrom(held); });
    port = server->port();
  }
  void Change(const std::string& source_id, int64_t at_us) {
    auto workspace = *store->LoadWorkspace();
    workspace.set_revision(workspace.revision() + 1);
    workspace.set_updated_at_us(at_us);
    workspace.add_sources()->set_id(source_id);
    REQUIRE(store->SaveWorkspace(workspace).ok());
    source.Set(Loaded());
  }
  std::unique_ptr<Store> store;
  config::LocalSource source;
  std::unique_ptr<ConfigServer> server;
  int port = 0;
};

/// Waits until the server has told a service nothing.
void AwaitHeldBack(const ConfigServer& server) {
  while (server.held_back().empty()) std::this_thread::yield();
}

}  // namespace

TEST_CASE("an emptied or restored store takes nothing from a service that has more",
          "[config][grpc]") {
  Folder folder;
  std::filesystem::create_directories(folder.path);
  const std::string cache = folder.path + "/cache", path = folder.path + "/a.db";
  telemetry::Metrics metrics;
  int port = 0;
  {
    Plane plane(path);
    plane.Change("first", 100);
    std::filesystem::copy(folder.path, folder.path + "/backup");
    plane.Change("second", 200);
    plane.Serve();
    port = plane.port;
    const auto client = config::WatchClient::Start(Options(port, cache));
    REQUIRE((*client)->WaitForSnapshot(kLong).ok());
    CHECK((*client)->HeldBack().empty());
  }
  std::string other = folder.path + "/empty.db";
  uint64_t last = 1;
  SECTION("emptied") {}
  SECTION("emptied, and as many changes made as there were before") {
    Plane plane(other);
    for (int i = 0; i < 4; ++i) plane.Change("new" + std::to_string(i), 1000 + i);
    last = 5;
  }
  SECTION("restored") {
    other = folder.path + "/backup/a.db";
    last = 2;
  }
  SECTION("restored, and as many changes made as there were after the backup") {
    other = folder.path + "/backup/a.db";
    Plane plane(other);
    plane.Change("third", 1000);
    last = 3;
  }
  Plane plane(other);
  REQUIRE(plane.source.Current()->revision() == last);
  plane.Serve(port);
  auto options = Options(port, cache);
  options.metrics = &metrics;
  const auto client = config::WatchClient::Start(options);
  AwaitHeldBack(*plane.server);
  while ((*client)->HeldBack().empty()) std::this_thread::yield();
  const auto held = (*client)->Current();
  CHECK(held->revision() == 3);
  CHECK(held->sources_size() == 2);
  CHECK((*client)->HeldBack().find("no successor") != std::string::npos);
  CHECK(metrics.Render().find("millrace_configuration_held_back 1") != std::string::npos);
  // A service that holds nothing takes what there is.
  auto of_another = Options(port, folder.path + "/fresh");
  of_another.instance = "gateway-1";
  const auto fresh = config::WatchClient::Start(of_another);
  REQUIRE((*fresh)->WaitForSnapshot(kLong).ok());
  CHECK((*fresh)->Current()->revision() == last);
  // And so does every other once that is allowed.
  const auto refused = plane.server->held_back();
  REQUIRE(refused.size() == 1);
  CHECK(refused[0].service == "gateway/gateway-0");
  CHECK(refused[0].held.revision() == 3);
  REQUIRE(plane.store->AcceptInPlaceOf(refused[0].held.store_id(), 999).ok());
  while ((*client)->Current() == held) std::this_thread::yield();
  while (!(*client)->HeldBack().empty()) std::this_thread::yield();
  CHECK((*client)->Current()->SerializeAsString() == plane.Loaded()->SerializeAsString());
  CHECK(plane.server->held_back().empty());
  CHECK(metrics.Render().find("millrace_configuration_held_back 0") != std::string::npos);
}

TEST_CASE("a service keeps its configuration from a control plane that does not look either",
          "[config][grpc]") {
  Folder folder;
  config::LocalSource source;
  const auto set = [&](const std::string& store_id, uint64_t revision) {
    auto workspace = std::make_shared<config::v1::Workspace>(*Make(revision, {}));
    workspace->set_store_id(store_id);
    source.Set(workspace);
  };
  set("a", 5);
  const auto server = ConfigServer::Start("127.0.0.1:0", "right", source);
  const int port = (*server)->port();
  REQUIRE((*config::WatchClient::Start(Options(port, folder.path)))->WaitForSnapshot(kLong).ok());
  SECTION("another store") {
    set("b", 9);
  }
  SECTION("an older revision") {
    set("a", 4);
  }
  const auto client = config::WatchClient::Start(Options(port, folder.path));
  while ((*client)->HeldBack().empty()) std::this_thread::yield();
  CHECK((*client)->Current()->revision() == 5);
  CHECK((*client)->Current()->store_id() == "a");
}

TEST_CASE("a watcher of before lists in deltas is told all of it, each time", "[config][grpc]") {
  config::LocalSource source;
  source.Set(Make(1, {{"a", "A"}}));
  const auto server = ConfigServer::Start("127.0.0.1:0", "right", source);
  const auto stub = config::v1::ConfigService::NewStub(grpc::CreateChannel(
      "127.0.0.1:" + std::to_string((*server)->port()), grpc::InsecureChannelCredentials()));
  grpc::ClientContext context;
  context.AddMetadata("authorization", "Bearer right");
  const auto reader = stub->Watch(&context, {});
  config::v1::WatchResponse response;
  REQUIRE(reader->Read(&response));
  CHECK(response.snapshot().revision() == 1);
  source.Set(Make(2, {{"a", "A"}, {"b", "B"}}));
  REQUIRE(reader->Read(&response));
  CHECK(response.snapshot().sources_size() == 2);
  context.TryCancel();
  while (reader->Read(&response)) {
  }
  (void)reader->Finish();
}

}  // namespace millrace::control_plane
