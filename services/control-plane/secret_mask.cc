#include "services/control-plane/secret_mask.h"

#include <nlohmann/json.hpp>

#include <vector>

#include "services/control-plane/event_json.h"
#include "services/control-plane/script_draft.h"

namespace millrace::control_plane {
namespace {

using Document = nlohmann::json;

Document Masked(const SecretMask& mask, const Document& json) {
  if (json.is_string()) return mask.Text(json.get_ref<const std::string&>());
  if (json.is_array()) {
    Document list = Document::array();
    for (const Document& item : json) list.push_back(Masked(mask, item));
    return list;
  }
  if (json.is_object()) {
    Document object = Document::object();
    for (const auto& [key, value] : json.items()) object[mask.Text(key)] = Masked(mask, value);
    return object;
  }
  // A secret made of digits may come back as a number.
  if (json.is_number()) {
    const std::string text = json.dump();
    const std::string masked = mask.Text(text);
    if (masked != text) return masked;
  }
  return json;
}

std::vector<std::string> SecretsOf(const config::v1::Workspace& workspace) {
  std::vector<std::string> secrets;
  for (const auto& credential : workspace.credentials()) {
    if (credential.secret()) secrets.push_back(credential.value());
  }
  return secrets;
}

}  // namespace

SecretMask::SecretMask(const config::v1::Workspace& workspace)
    : needed_(!SecretsOf(workspace).empty()), mask_(SecretsOf(workspace)) {}

std::string SecretMask::Text(std::string_view text) const {
  return mask_.Apply(std::string(text));
}

std::string SecretMask::Json(std::string_view json) const {
  if (!needed_) return std::string(json);
  const auto parsed = ParseJson(json);
  if (!parsed.ok()) return Text(json);
  return Masked(*this, *parsed).dump(-1, ' ', false, Document::error_handler_t::replace);
}

Status SecretMask::Apply(const Status& status) const {
  if (status.ok() || !needed_) return status;
  const Status masked = MakeStatus(status.code(), Text(Message(status)));
  config::v1::CodeFaults faults = FaultsOf(status);
  if (faults.faults().empty()) return masked;
  for (auto& fault : *faults.mutable_faults()) fault.set_message(Text(fault.message()));
  return WithFaults(masked, faults);
}

}  // namespace millrace::control_plane
