#include "libs/transformation/runtime.h"

#include <utility>

namespace millrace::transformation {
namespace {

FetcherOptions FetcherOptionsOf(const settings::v1::TransformationSettings& settings) {
  FetcherOptions options;
  options.allowed_networks.assign(settings.allowed_networks().begin(),
                                  settings.allowed_networks().end());
  if (settings.fetch_timeout_ms() > 0) {
    options.timeout = std::chrono::milliseconds(settings.fetch_timeout_ms());
  }
  if (settings.fetch_connect_timeout_ms() > 0) {
    options.connect_timeout = std::chrono::milliseconds(settings.fetch_connect_timeout_ms());
  }
  if (settings.fetches_per_host() > 0) options.max_in_flight_per_host = settings.fetches_per_host();
  return options;
}

std::vector<CodeFault> NotChecked(const Status& status) {
  return {{.where = "transformation",
           .message = "could not be checked: " + std::string(Message(status))}};
}

}  // namespace

StatusOr<std::unique_ptr<Runtime>> Runtime::Create(
    const settings::v1::TransformationSettings& settings, uint32_t script_workers) {
  script::ScriptSettings scripts;
  if (script_workers > 0) scripts.workers = static_cast<int>(script_workers);
  std::unique_ptr<Runtime> runtime(new Runtime(scripts));
  if (!settings.geolocation_file().empty()) {
    auto opened = Geolocation::Open(settings.geolocation_file());
    if (!opened.ok()) return Annotate(opened.status(), "transformation.geolocation_file");
    runtime->geolocation_ = *std::move(opened);
  }
  auto fetcher = Fetcher::Create(FetcherOptionsOf(settings));
  if (!fetcher.ok()) return Annotate(fetcher.status(), "transformation.allowed_networks");
  runtime->fetcher_ = *std::move(fetcher);
  return runtime;
}

StatusOr<TransformerFactory*> Runtime::Started() {
  MutexLock lock(mu_);
  if (factory_ == nullptr) {
    MR_ASSIGN_OR_RETURN(pool_, script::WorkerPool::Start(script_settings_));
    factory_ = MakeTransformerFactory(
        {.pool = pool_.get(), .fetcher = fetcher_.get(), .geolocation = geolocation_.get()});
  }
  return factory_.get();
}

StatusOr<std::shared_ptr<Transformer>> Runtime::Make(
    const config::v1::TransformationVersion& version, const config::v1::Workspace& workspace) {
  MR_ASSIGN_OR_RETURN(TransformerFactory* const factory, Started());
  return factory->Make(version, workspace);
}

std::vector<CodeFault> Runtime::Check(const config::v1::TransformationVersion& version,
                                      const config::v1::Workspace& workspace) {
  const auto factory = Started();
  return factory.ok() ? (*factory)->Check(version, workspace) : NotChecked(factory.status());
}

std::vector<CodeFault> Runtime::CheckLibrary(const config::v1::LibraryVersion& version,
                                             const config::v1::Workspace& workspace) {
  const auto factory = Started();
  return factory.ok() ? (*factory)->CheckLibrary(version, workspace) : NotChecked(factory.status());
}

}  // namespace millrace::transformation
