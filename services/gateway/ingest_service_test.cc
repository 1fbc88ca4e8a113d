#include "services/gateway/ingest_service.h"

#include <catch2/catch.hpp>
#include <grpcpp/grpcpp.h>

#include <thread>

#include "libs/config/local_source.h"
#include "libs/testing/memory_log.h"
#include "millrace/ingest/v1/ingest.grpc.pb.h"
#include "services/gateway/gateway.h"

using namespace millrace;

TEST_CASE("Pushed events are appended and answered in their order", "[gateway][grpc]") {
  testing::MemoryLog log;
  REQUIRE(log.EnsureTopic("ingest", {}).ok());
  config::LocalSource config;
  auto workspace = std::make_shared<config::v1::Workspace>();
  workspace->set_id("ws");
  auto* source = workspace->add_sources();
  source->set_id("src");
  source->add_write_keys("key");
  source->set_enabled(true);
  config.Set(workspace);
  telemetry::Metrics metrics;
  auto gate = gateway::Gateway::Create({}, {log, config, metrics});
  REQUIRE(gate.ok());
  const auto service = gateway::NewIngestService(**gate);
  grpc::ServerBuilder builder;
  builder.RegisterService(service.get());
  const auto server = builder.BuildAndStart();
  REQUIRE(server != nullptr);

  const auto stub = ingest::v1::Ingest::NewStub(server->InProcessChannel({}));
  grpc::ClientContext context;
  const auto stream = stub->Push(&context);
  constexpr uint64_t kRequests = 300;  // more than the service takes at once
  std::thread writer([&stream] {
    bool ok = true;
    for (uint64_t i = 0; i < kRequests && ok; ++i) {
      ingest::v1::IngestRequest request;
      request.set_sequence(i);
      request.set_write_key(i % 10 == 9 ? "nope" : "key");
      request.add_events(R"({"type":"track","userId":"u"})");
      request.add_events("{");
      ok = stream->Write(request);
    }
    stream->WritesDone();
  });
  ingest::v1::IngestResponse response;
  uint64_t answers = 0;
  for (uint64_t i = 0; i < kRequests; ++i) {
    if (!stream->Read(&response)) break;
    ++answers;
    CHECK(response.sequence() == i);
    CHECK(response.code() == (i % 10 == 9 ? grpc::UNAUTHENTICATED : grpc::OK));
    CHECK(response.accepted() == (i % 10 == 9 ? 0 : 1));
    CHECK(response.rejected() == (i % 10 == 9 ? 0 : 1));
  }
  writer.join();
  CHECK(answers == kRequests);
  CHECK_FALSE(stream->Read(&response));
  CHECK(stream->Finish().ok());
  CHECK(log.records().size() == 2 * 270);
  server->Shutdown();
}
