#include "libs/destination/catalogue_functions.h"

#include "libs/destination/script_mapper.h"

namespace millrace::destination {
namespace {

Status Unknown(const Catalogue& catalogue, std::string_view type) {
  std::string known;
  for (const auto* one : catalogue.List())
    known += (known.empty() ? "" : ", ") + one->definition.id();
  return Error(StatusCode::kInvalidArgument, "there is no destination type '{}'; there are: {}",
               type, known);
}

}  // namespace

StatusOr<Catalogue> LoadCatalogue(const std::string& folder) {
  Catalogue catalogue = Catalogue::Builtin();
  if (!folder.empty()) MR_RETURN_IF_ERROR(catalogue.LoadFolder(folder));
  return catalogue;
}

std::function<const v1::Definition*(std::string_view)> DefinitionsOf(const Catalogue& catalogue) {
  return [&catalogue](std::string_view type) -> const v1::Definition* {
    const DestinationType* found = catalogue.Find(type);
    return found == nullptr ? nullptr : &found->definition;
  };
}

std::function<Status(std::string_view, std::string_view)> ValidatorOf(const Catalogue& catalogue) {
  return [&catalogue](std::string_view type, std::string_view config_json) -> Status {
    const DestinationType* found = catalogue.Find(type);
    return found == nullptr ? Unknown(catalogue, type)
                            : ValidateConfig(found->definition, config_json);
  };
}

std::function<std::string(std::string_view, std::string_view)> MaskerOf(
    const Catalogue& catalogue) {
  return [&catalogue](std::string_view type, std::string_view config_json) -> std::string {
    const DestinationType* found = catalogue.Find(type);
    return found == nullptr ? "{}" : MaskSecrets(found->definition, config_json);
  };
}

std::function<StatusOr<std::shared_ptr<Mapper>>(const config::v1::Destination&)> MappersOf(
    const Catalogue& catalogue, script::WorkerPool& scripts) {
  return [&catalogue, &scripts](
             const config::v1::Destination& configured) -> StatusOr<std::shared_ptr<Mapper>> {
    const DestinationType* found = catalogue.Find(configured.type());
    if (found == nullptr) return Unknown(catalogue, configured.type());
    return MakeMapper(found->definition, found->mapping_source, configured.config_json(), scripts);
  };
}

}  // namespace millrace::destination
